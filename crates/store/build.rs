//! Makes cargo notice a new migration: the compiler itself watches only the files that were there before.

fn main() {
    println!("cargo:rerun-if-changed=../../migrations");
}
