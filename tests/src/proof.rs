//! Proofs have two sizes: the small one of every test run, and the full one of `make proof`, whose figures are kept in
//! `docs/proof.md`.

/// `full` under `make proof`, else `small`.
#[expect(clippy::disallowed_methods, reason = "a switch of the test run, not a setting of the program")]
pub fn rounds(small: usize, full: usize) -> usize {
    if std::env::var_os("COUNTERSIGN_PROOF").is_some() { full } else { small }
}

/// Says a figure, for whoever runs `make proof`.
#[expect(clippy::print_stdout, reason = "the report of a proof")]
pub fn say(figure: &str) {
    println!("proof: {figure}");
}
