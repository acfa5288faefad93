//! A verified challenge in plain words, as a phone would show it. Only what is signed, and none of it raw:
//! what a caller put into a text must not move the cursor or hide a word.

use countersign_proto::{
    jose::claims::{ChallengeClaims, ChallengeContext, ChallengeUser},
    timestamp::Timestamp,
    vocabulary::VerificationMode,
};

/// Whether a character could change what is seen around it (protocol, "Notation").
fn is_hidden(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{61c}' | '\u{200b}' | '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
        || matches!(character, '\u{2060}'..='\u{2069}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}')
}

/// Text of somebody else's, safe on a terminal.
pub(in crate::cli) fn plain(text: &str) -> String {
    text.chars().map(|character| if is_hidden(character) { '\u{fffd}' } else { character }).collect()
}

/// What is asked, by whom, from where; one line each.
pub(in crate::cli) fn question(challenge: &ChallengeClaims) -> Vec<String> {
    let ChallengeClaims { tenant, user, application, action, message, context, details, .. } = challenge;
    let asked = match (action.as_str(), application) {
        ("sign_in", Some(application)) => format!("sign in to {}?", plain(application)),
        ("sign_in", None) => "sign in?".to_owned(),
        (action, Some(application)) => format!("{} at {}?", plain(action), plain(application)),
        (action, None) => format!("{}?", plain(action)),
    };
    let mut lines = vec![format!("{} asks {}: {asked}", plain(&tenant.name), name(user))];
    lines.extend(message.iter().map(|message| format!("\"{}\"", plain(message))));
    lines.extend(context.as_ref().and_then(origin));
    let details = details.iter().flatten();
    lines.extend(details.map(|detail| format!("{}: {}", plain(&detail.label), plain(&detail.value))));
    lines
}

fn name(user: &ChallengeUser) -> String {
    match &user.display_name {
        Some(display_name) => format!("{} ({})", plain(display_name), plain(&user.external_id)),
        None => plain(&user.external_id),
    }
}

fn origin(context: &ChallengeContext) -> Option<String> {
    let ChallengeContext { ip, user_agent, location, device } = context;
    let parts = [location, ip, device, user_agent].into_iter().flatten().map(|part| plain(part));
    let parts: Vec<String> = parts.collect();
    (!parts.is_empty()).then(|| format!("from {}", parts.join(", ")))
}

/// What the person has to do to approve.
pub(in crate::cli) fn task(challenge: &ChallengeClaims) -> String {
    let verification = &challenge.verification;
    match verification.mode {
        VerificationMode::Enter => match verification.digits {
            Some(digits) => format!("To approve, type the {digits} digits that the sign-in page shows."),
            None => "To approve, type the number that the sign-in page shows.".to_owned(),
        },
        VerificationMode::Choose => {
            let choices = verification.choices.iter().flatten().map(|choice| plain(choice));
            format!(
                "To approve, choose the number that the sign-in page shows: {}",
                choices.collect::<Vec<_>>().join("  ")
            )
        }
        VerificationMode::Display => "Approve to get a code, and type it into the sign-in page.".to_owned(),
        VerificationMode::None => "Approve or deny.".to_owned(),
    }
}

/// How long there is to answer.
pub(in crate::cli) fn deadline(challenge: &ChallengeClaims, now: Timestamp) -> String {
    let seconds = challenge.exp.saturating_sub(now.as_seconds()).max(0);
    format!("It waits for another {seconds} s.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_others_cannot_move_the_cursor_or_hide_a_word() {
        assert_eq!(plain("Zoë, 10 €, 日本"), "Zoë, 10 €, 日本");
        assert_eq!(
            plain("a\x1b[2Jb\nc\u{202e}d\u{200b}e\u{e0041}\u{9b}"),
            "a\u{fffd}[2Jb\u{fffd}c\u{fffd}d\u{fffd}e\u{fffd}\u{fffd}"
        );
    }
}
