//! `countersign-simulator phone`: registers, waits to be rung, pulls, shows and answers.
//!
//! Its keys live as long as the program. With `--json` it prints one object per line, as things happen:
//! `registered`, `push`, `challenge`, `answered`, `trouble`.

use std::io::{self, Write as _};
use std::time::Duration;

use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use countersign_proto::jose::claims::ChallengeClaims;
use countersign_proto::timestamp::Timestamp;
use countersign_proto::vocabulary::{Decision, DenyReason, PushChannel, UvMethod, VerificationMode, Word as _};
use countersign_simulator::Phone;
use countersign_simulator::phone::{Answer, EnrollOptions, Inbox, Notification, Surroundings, VerifiedChallenge};
use countersign_simulator::phone::{PhoneError, platform_of};
use countersign_simulator::stand_in::system_clock;
use serde_json::{Value, json};
use tokio::sync::mpsc::{self, Receiver};

use super::common::plain;
use super::{CliError, Interruption, say};

/// How long one wait for a push is; then the next begins.
const WAIT: Duration = Duration::from_secs(50);

/// Which phone, and what it answers.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// https://SERVER/enroll#t=TICKET (quote it: a shell may take # for a comment).
    #[arg(long, value_name = "URI")]
    enroll: String,
    /// Who rings it: apns, fcm or webpush.
    #[arg(long)]
    push: PushChannel,
    /// The stand-in's control port: http://127.0.0.1:PORT.
    #[arg(long, value_name = "URL")]
    provider: String,
    /// The device's name, for people.
    #[arg(long, default_value = "simulated phone")]
    name: String,
    /// Register a second key, which stands for the one behind PIN or biometric, and answer with it.
    #[arg(long)]
    uv: bool,
    /// Approve with this number; asked for on stdin if absent.
    #[arg(long, value_name = "N", conflicts_with_all = ["approve", "deny"])]
    number: Option<String>,
    /// Approve what wants no number; without it the person is asked.
    #[arg(long, conflicts_with = "deny")]
    approve: bool,
    /// Deny.
    #[arg(long)]
    deny: bool,
    /// Why it denies: not_me, mistake or other.
    #[arg(long, requires = "deny")]
    reason: Option<DenyReason>,
    /// End after the first answer.
    #[arg(long)]
    once: bool,
}

/// Registers, then answers until interrupted.
pub(super) async fn run(arguments: Args, json: bool) -> Result<(), CliError> {
    let interruption = Interruption::listen()?;
    tokio::select! {
        outcome = live(&arguments, json) => outcome,
        // Interrupted: that is how a phone ends well.
        () = interruption.comes() => Ok(()),
    }
}

async fn live(arguments: &Args, json: bool) -> Result<(), CliError> {
    let Args { enroll, push, provider, name, uv, .. } = arguments;
    let inbox = Inbox::open(*push, provider).await?;
    let mut options = EnrollOptions::named(name);
    options.device.platform = platform_of(*push);
    (options.push, options.has_uv_key) = (inbox.binding(), *uv);
    let phone = Phone::enroll(enroll, options, surroundings()).await?;
    introduce(&phone, &inbox, json)?;
    Session { phone, inbox, arguments, json, asked: None, lines: None }.run().await
}

/// A phone that rings, and the person who holds it.
struct Session<'a> {
    phone: Phone,
    inbox: Inbox,
    arguments: &'a Args,
    json: bool,
    /// What the person is being asked.
    asked: Option<VerifiedChallenge>,
    /// What the person types; nobody reads stdin before the first question.
    lines: Option<Receiver<String>>,
}

impl Session<'_> {
    async fn run(mut self) -> Result<(), CliError> {
        loop {
            let is_answered = tokio::select! {
                notification = self.inbox.next(WAIT) => match notification? {
                    Some(notification) => self.rung(&notification).await,
                    None => Ok(false),
                },
                line = next_line(&mut self.lines), if self.asked.is_some() => self.typed(&line).await,
            };
            match is_answered {
                Ok(true) if self.arguments.once => return Ok(()),
                Ok(_) => {}
                // Answered elsewhere, expired, a wrong number: the phone waits for the next one.
                Err(CliError::Phone(error @ (PhoneError::Problem(_) | PhoneError::Refused(_)))) => {
                    let text = plain(&error.to_string());
                    tell(self.json, "trouble", json!({"error": text}), || format!("No answer: {text}"))?;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Whether what rang was answered.
    async fn rung(&mut self, notification: &Notification) -> Result<bool, CliError> {
        let members = json!({"kind": notification.kind, "payload": notification.payload});
        tell(self.json, "push", members, || format!("Rung: {}.", plain(&notification.to_string())))?;
        match notification.kind.as_str() {
            "challenge" => {}
            // Answered on another device, or over: the question leaves the screen.
            "withdrawn" => {
                self.asked.take_if(|asked| Some(asked.id()) == notification.challenge_id);
                return Ok(false);
            }
            _ => return Ok(false),
        }
        let challenge = self.phone.pull(notification).await?;
        show(&challenge, self.json)?;
        if let Some(answer) = decided(challenge.claims(), self.arguments) {
            return self.respond(&challenge, answer).await;
        }
        if !self.json {
            ask(challenge.claims())?;
        }
        self.asked = Some(challenge);
        self.lines.get_or_insert_with(read_lines);
        Ok(false)
    }

    /// Whether what was typed is an answer, which was then given.
    async fn typed(&mut self, line: &str) -> Result<bool, CliError> {
        let Some(challenge) = self.asked.take() else { return Ok(false) };
        match heard(line, wants_number(challenge.claims())) {
            Some(answer) => self.respond(&challenge, answer).await,
            None => Ok(false),
        }
    }

    async fn respond(&self, challenge: &VerifiedChallenge, answer: Answer) -> Result<bool, CliError> {
        let uv = (self.arguments.uv && answer.decision == Decision::Approve).then_some(UvMethod::Pin);
        let recorded = self.phone.respond(challenge, &Answer { uv, ..answer }).await?;
        let status = recorded.status.as_str();
        let code = recorded.display_code.as_deref().map(plain);
        let members = json!({"challenge_id": recorded.challenge_id, "status": status, "display_code": code});
        tell(self.json, "answered", members, || match &code {
            Some(code) => format!("Type this code where you sign in: {code}"),
            None => format!("Challenge {} is {status}.", recorded.challenge_id),
        })?;
        Ok(true)
    }
}

fn introduce(phone: &Phone, inbox: &Inbox, json: bool) -> Result<(), CliError> {
    let registration = phone.registration();
    let code = registration.confirmation_code.as_deref().map(plain);
    let members = json!({"device_id": phone.id(), "push_token": inbox.token(), "confirmation_code": code});
    tell(json, "registered", members, || {
        let head = format!("Registered at {} as {}.", plain(&registration.issuer), phone.id());
        match &code {
            Some(code) => format!("{head}\nType this code into the page that began the enrollment: {code}"),
            None => head,
        }
    })
}

fn show(challenge: &VerifiedChallenge, json: bool) -> Result<(), CliError> {
    let claims = challenge.claims();
    let members = json!({"challenge_id": challenge.id(), "claims": claims});
    tell(json, "challenge", members, || {
        let application = claims.application.as_deref().map(|name| format!(" at {}", plain(name)));
        let mut text = format!(
            "{} asks {}: {}{}?",
            plain(&claims.tenant.name),
            plain(&claims.user.external_id),
            plain(&claims.action),
            application.unwrap_or_default()
        );
        if let Some(message) = &claims.message {
            text.push_str(&format!("\n\"{}\"", plain(message)));
        }
        for detail in claims.details.iter().flatten() {
            text.push_str(&format!("\n{}: {}", plain(&detail.label), plain(&detail.value)));
        }
        text
    })
}

fn wants_number(claims: &ChallengeClaims) -> bool {
    matches!(claims.verification.mode, VerificationMode::Enter | VerificationMode::Choose)
}

/// What the options say; `None`: the person is asked.
fn decided(claims: &ChallengeClaims, arguments: &Args) -> Option<Answer> {
    let Args { number, approve, deny, reason, .. } = arguments;
    let wants_number = wants_number(claims);
    match (number, approve, deny) {
        (_, _, true) => Some(Answer::deny(*reason)),
        (Some(number), ..) => Some(Answer::approve(wants_number.then_some(number.as_str()))),
        (None, true, _) if !wants_number => Some(Answer::approve(None)),
        _ => None,
    }
}

fn ask(claims: &ChallengeClaims) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let choices: Vec<String> = claims.verification.choices.iter().flatten().map(|choice| plain(choice)).collect();
    match wants_number(claims) {
        true if choices.is_empty() => write!(out, "The number of the sign-in page, or deny: ")?,
        true => write!(out, "The number of the sign-in page ({}), or deny: ", choices.join("  "))?,
        false => write!(out, "approve or deny: ")?,
    }
    out.flush()
}

/// What the person's line means; `None`: nothing.
fn heard(line: &str, wants_number: bool) -> Option<Answer> {
    match line.trim() {
        "deny" => Some(Answer::deny(None)),
        "approve" if !wants_number => Some(Answer::approve(None)),
        number if wants_number && !number.is_empty() => Some(Answer::approve(Some(number))),
        _ => None,
    }
}

/// Reads stdin for the rest of the program's life: a read of it cannot be taken back.
fn read_lines() -> Receiver<String> {
    let (sender, lines) = mpsc::channel(16);
    std::thread::spawn(move || {
        // Ends with stdin, or when nobody listens any more.
        for line in io::stdin().lines() {
            let Ok(line) = line else { return };
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    lines
}

/// The next line; never, if nobody types any more.
async fn next_line(lines: &mut Option<Receiver<String>>) -> String {
    let line = match lines {
        Some(lines) => lines.recv().await,
        None => None,
    };
    match line {
        Some(line) => line,
        None => std::future::pending().await,
    }
}

/// One event: an object, or a text for people.
fn tell(json: bool, kind: &str, mut members: Value, text: impl FnOnce() -> String) -> Result<(), CliError> {
    if !json {
        return Ok(say(&text())?);
    }
    if let Some(members) = members.as_object_mut() {
        members.insert("type".to_owned(), json!(kind));
    }
    Ok(say(&members.to_string())?)
}

/// The machine's clock and random source.
fn surroundings() -> Surroundings {
    let (clock, random) = (system_clock(), SystemRandom::new());
    Surroundings::new(
        move || Timestamp::from_seconds(clock()),
        move |buffer: &mut [u8]| {
            if random.fill(buffer).is_err() {
                // Going on would mean guessable keys.
                std::process::abort();
            }
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_number_a_word_or_nothing() {
        assert_eq!(heard(" 123456\n", true), Some(Answer::approve(Some("123456"))));
        assert_eq!(heard("deny\n", true), Some(Answer::deny(None)));
        assert_eq!(heard("deny", false), Some(Answer::deny(None)));
        assert_eq!(heard("approve", false), Some(Answer::approve(None)));
        for nothing in [heard("", true), heard("", false), heard("123456", false), heard("yes", false)] {
            assert_eq!(nothing, None);
        }
    }
}
