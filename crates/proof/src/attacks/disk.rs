//! `countersign-proof disk`: the disk that holds the SQLite database is full, and later it is not.
//!
//! The disk is a small tmpfs of the attack's own (mounting it needs root; without, nothing is attacked, and it says so). A
//! ballast leaves some room, people sign in until nothing can be written, phones are revoked on the full disk and then try to
//! approve, the ballast goes. Every other time the server is killed, and later stopped, and started on the full disk between
//! the revocations; otherwise it is never restarted. When all is over it is killed, so that only what is on the disk counts. Never fills
//! another disk. To look at one more thing on a full disk: a line in `on_the_full_disk`.

use std::{
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::Duration,
};

use countersign_simulator::phone::{Answer, VerifiedChallenge};

use super::frame::{Common, meanwhile};
use crate::{
    ProofError,
    dice::Dice,
    flows::{Asking, Flow, Person, Turn, World},
    history::End,
    report::Report,
    rig::{Db, Node, Rig, until},
    system::{Stopwatch, pause},
};

/// What a call may last on a full disk, its repetitions included.
const ON_THE_FULL_DISK: Duration = Duration::from_secs(5);
/// Once there is room, somebody can enroll within this.
const RECOVERY: Duration = Duration::from_secs(30);
/// Phones that are revoked on the full disk, each time.
const LOST: usize = 8;
/// What the server keeps for revocations, as by default.
const RESERVE_MIB: u64 = 16;
/// One write of the ballast.
const GRAIN: [u8; 4096] = [0; 4096];

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    common: Common,
    /// The disk's size.
    #[arg(long, default_value_t = 24)]
    mib: u64,
    /// How much of it is left to people's sign-ins.
    #[arg(long, default_value_t = 1_024)]
    room_kib: u64,
    /// How often it is filled.
    #[arg(long, default_value_t = 2)]
    rounds: u64,
    /// Flows at once.
    #[arg(long, default_value_t = 8)]
    flows: u32,
}

pub(crate) async fn run(args: Args) -> Result<Report, ProofError> {
    let mut report = args.common.report("disk");
    report.figure("MiB", args.mib);
    let rig = Rig::new(&args.common.rig, Db::Sqlite).await?;
    let folder = rig.file("disk");
    let rig = rig.set("database.url", &format!("sqlite://{}", folder.join("countersign.db").display()));
    // After the rig, so that it is unmounted before the rig's folder is removed.
    let disk = Disk::mount(folder, args.mib)?;
    let node = rig.start().await?;
    let world = World::begin(&rig, None).await?;
    let dice = Dice::new(args.common.seed);
    let mut witness = Flow::new(Arc::clone(&world), args.flows, dice.part(u64::from(args.flows)));
    let filled = fill_and_empty(&args, &rig, node, &disk, &mut witness, &mut report);
    let (mut node, uncertain) = meanwhile(&world, args.flows, &dice, filled).await?;
    report.count("turns of which nothing is certain", uncertain);
    if node.has_ended()? {
        report.violated("the server has ended by itself");
    } else {
        node.kill().await?;
    }
    let node = rig.start().await?;
    args.common.conclude(&rig, &world, None, [node], &mut report).await?;
    drop(disk);
    rig.finish().await?;
    Ok(report)
}

/// Returns the server that runs in the end.
async fn fill_and_empty(
    args: &Args,
    rig: &Rig,
    mut node: Node,
    disk: &Disk,
    witness: &mut Flow,
    report: &mut Report,
) -> Result<Node, ProofError> {
    for round in 0..args.rounds {
        let mut lost = Vec::new();
        for _ in 0..LOST {
            lost.push(Lost::make(witness).await.map_err(unprepared)?);
        }
        let organisation = format!("lost-{round}");
        rig.command(&["tenant", "create", "--name", &organisation]).await?;
        disk.fill(args.room_kib)?;
        until("nothing can be written any more", async || Ok(is_full(witness).await)).await?;
        for (number, some) in lost.chunks(LOST / 4).enumerate() {
            if round % 2 == 0 && number == 1 {
                node.kill().await?;
                node = rig.start().await?;
                report.count("killed and started on the full disk", 1);
            }
            if round % 2 == 0 && number == 2 {
                node.stop().await?;
                // Whoever ends well gives room back; that is taken, too.
                disk.fill(0)?;
                node = rig.start().await?;
                report.count("stopped and started on the full disk", 1);
            }
            on_the_full_disk(witness, some, report).await;
        }
        match rig.try_command(&["tenant", "disable", &organisation]).await? {
            (Some(0), _) => report.count("organisations disabled on the full disk", 1),
            (_, said) => report.violated(format!("an organisation could not be disabled on the full disk: {said}")),
        }
        let given = RESERVE_MIB.saturating_sub(disk.reserve_mib());
        report.highest("MiB of the reserve given up at most", given);
        let still = is_full(witness).await;
        report.count(if still { "still full after the revocations" } else { "not full any more" }, 1);
        disk.make_room()?;
        let began = Stopwatch::start();
        match tokio::time::timeout(RECOVERY, witness.enroll()).await {
            Ok(Ok(_)) => report.highest("milliseconds until it works again at most", began.micros() / 1_000),
            other => report.violated(format!("no service within {RECOVERY:?} on a disk with room: {}", other.is_ok())),
        }
        with_room_again(witness, &lost, report).await;
        report.count("filled", 1);
        pause(Duration::from_secs(1)).await;
    }
    Ok(node)
}

fn unprepared(why: Turn) -> ProofError {
    ProofError::Rig(format!("nobody could be enrolled before the disk was filled: {why:?}"))
}

/// Whether nobody new can be invited, for a while.
async fn is_full(witness: &mut Flow) -> bool {
    tokio::time::timeout(Duration::from_secs(1), witness.invite()).await.is_err()
}

/// Somebody whose phone is lost while it is asked.
struct Lost {
    person: Person,
    asking: Asking,
    challenge: VerifiedChallenge,
}

impl Lost {
    async fn make(witness: &mut Flow) -> Result<Self, Turn> {
        let person = witness.enroll().await?;
        let asking = witness.ask(&person, 300).await?;
        let challenge = witness.pull(&person, &asking).await?;
        Ok(Self { person, asking, challenge })
    }
}

/// What still works: revoking, and nothing with a phone that is revoked.
async fn on_the_full_disk(witness: &Flow, lost: &[Lost], report: &mut Report) {
    for Lost { person, asking, challenge } in lost {
        let revoked = tokio::time::timeout(ON_THE_FULL_DISK, witness.revoke(person)).await;
        let is_revoked = matches!(revoked, Ok(Ok(End::Ok { .. })));
        report.count("revoked on the full disk", u64::from(is_revoked));
        if !is_revoked {
            report.violated(format!("{} could not be revoked on the full disk", person.device()));
        }
        let answer = Answer::approve(Some(&asking.number));
        let answered = tokio::time::timeout(ON_THE_FULL_DISK, witness.answer(person, challenge, &answer, "lost")).await;
        let is_approved = matches!(answered, Ok(Ok(End::Ok { .. })));
        report.count("approved on the full disk", u64::from(is_approved));
    }
}

/// Once there is room a revocation says the same again.
async fn with_room_again(witness: &Flow, lost: &[Lost], report: &mut Report) {
    for Lost { person, .. } in lost {
        let revoked = tokio::time::timeout(RECOVERY, witness.revoke(person)).await;
        if !matches!(revoked, Ok(Ok(End::Ok { .. }))) {
            report.violated(format!("{} cannot be revoked on a disk with room", person.device()));
        }
    }
}

/// A small disk of our own; unmounted with this.
#[derive(Debug)]
struct Disk {
    folder: PathBuf,
}

impl Disk {
    fn mount(folder: PathBuf, mib: u64) -> Result<Self, ProofError> {
        fs::create_dir(&folder)?;
        let size = format!("size={mib}m,mode=0700");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(&folder).output();
        match mounted {
            Ok(output) if output.status.success() => Ok(Self { folder }),
            _ => Err(ProofError::Rig("not attacked: a tmpfs cannot be mounted here, that needs root".to_owned())),
        }
    }

    fn ballast(&self) -> PathBuf {
        self.folder.join("ballast")
    }

    /// Takes all but so much.
    fn fill(&self, room_kib: u64) -> Result<(), ProofError> {
        let path = self.ballast();
        let mut file = File::create(&path)?;
        // Until the disk says that it is full: that is what is asked for.
        while file.write_all(&GRAIN).is_ok() {}
        let length = fs::metadata(&path)?.len();
        file.set_len(length.saturating_sub(room_kib.saturating_mul(1_024)))?;
        Ok(())
    }

    /// What is left of the server's reserve.
    fn reserve_mib(&self) -> u64 {
        fs::metadata(self.folder.join("countersign.db-reserve")).map_or(0, |file| file.len() / 1_048_576)
    }

    fn make_room(&self) -> Result<(), ProofError> {
        fs::remove_file(self.ballast())?;
        Ok(())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Nobody could do more about a failure here; the folder then stays, empty once the machine restarts.
        let _gone = unmount(&self.folder);
    }
}

fn unmount(folder: &Path) -> std::io::Result<std::process::Output> {
    // Lazily: on the way of an error the server may not be gone yet.
    Command::new("umount").arg("--lazy").arg(folder).output()
}
