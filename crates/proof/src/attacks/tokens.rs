//! `countersign-proof tokens`: spoilt artefacts of every kind, judged by the verifier that the server, the phone and every
//! offline verifier share; and written down, one a line, so that libraries of others judge them, too.
//!
//! Some are spoilt as a stranger could, some as the holder of a key could, who signs what no honest phone signs. What is
//! accepted must be of a class that leaves one meaning only; what the others say is compared by tests/interop/tokens_python.py.
//! The shape of the lines: `number`, `class`, `typ`, `names` (`kid` or `jwk`), `jwk` (the key that is known), `token` (its
//! bytes, b64u), `accepted`, `why` (our reason if not).
//!
//! To add a way to spoil one: a line in `shapes` (the text), `headers` or `payloads` (signed anew).

mod headers;
mod maker;
mod payloads;
mod shapes;

use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufWriter, Write as _},
    path::PathBuf,
};

use countersign_proto::jose::{HeaderKey, KeyMember, Refusal, Unverified, base64url};
use serde_json::json;

use self::maker::{Maker, Token};
use crate::{ProofError, dice::Dice, report::Report};

/// What may be accepted: the same header and payload, spelled otherwise.
const OF_ONE_MEANING: [&str; 4] = ["honest", "header: reordered", "header: spelled otherwise", "signature: n - s"];

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How many.
    #[arg(long, default_value_t = 2_000)]
    count: u64,
    /// What they are drawn by; signatures have randomness of their own.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where they are written.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

pub(crate) fn run(args: &Args) -> Result<Report, ProofError> {
    let mut report = Report::new("tokens");
    let mut out = BufWriter::new(File::create(&args.out)?);
    let mut maker = Maker::new(Dice::new(args.seed))?;
    let mut whys = BTreeMap::<&str, u64>::new();
    for number in 0..args.count {
        let token = maker.one(number)?;
        let refusal = judge(&token).err();
        let class = token.class;
        match &refusal {
            None if !OF_ONE_MEANING.contains(&class) => report.violated(format!("{number}: accepted: {class}")),
            Some(why) if class == "honest" => report.violated(format!("{number}: an honest one was refused: {why}")),
            None => report.count("accepted", 1),
            Some(why) => *whys.entry(why.reason()).or_default() += 1,
        }
        let names = if token.kind.key_member() == KeyMember::Kid { "kid" } else { "jwk" };
        let why = refusal.as_ref().map(Refusal::reason);
        let line = json!({"number": number, "class": class, "typ": token.kind.typ(), "names": names,
            "jwk": token.key.to_jwk(), "token": base64url::encode(&token.bytes), "accepted": refusal.is_none(), "why": why});
        writeln!(out, "{line}")?;
    }
    out.flush()?;
    report.figure("tokens", args.count);
    report.figure("seed", args.seed);
    for (why, count) in whys {
        report.figure(&format!("refused: {why}"), count);
    }
    Ok(report)
}

/// As the server reads one: the known key if the header names it, or the header's own where its kind has one.
fn judge(token: &Token) -> Result<(), Refusal> {
    let unverified = Unverified::parse(token.kind, &token.bytes)?;
    match unverified.key() {
        HeaderKey::Kid(_) => unverified.verify(&token.key),
        HeaderKey::Jwk(_) => unverified.verify_with_header_key(),
    }
    .map(drop)
}
