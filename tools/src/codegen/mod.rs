//! `tools codegen`: turns `schema/event.fbs` into `src/store/record/generated.rs`.
//!
//! The generated file is committed, so that a build needs no schema compiler. Building `flatc`
//! takes minutes of C++ and cmake, so it hides behind the feature `codegen`; what every build can
//! afford is the drift test below: the file's header carries the SHA-256 of the schema it came from
//! and of its own body, and both must match what is committed.

#[cfg(feature = "codegen")]
mod flatc;

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::Failure;

/// The arguments of `tools codegen`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Write nothing; fail when the committed code differs from what the schema yields
    #[arg(long)]
    check: bool,
}

/// Generates the code, then writes it or compares it with what is committed.
pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let schema = read(&schema_path())?;
    let body = generate_body()?;
    let generated = format!("{}{body}", header(&schema, &body));
    let path = generated_path();
    if arguments.check {
        if read(&path)? != generated {
            return Err(
                format!("{} differs from what {SCHEMA} yields; {HINT}", path.display()).into()
            );
        }
        eprintln!("{GENERATED} is up to date");
        return Ok(());
    }
    std::fs::write(&path, generated)
        .map_err(|error| format!("write {}: {error}", path.display()))?;
    eprintln!("wrote {GENERATED}");
    Ok(())
}

#[cfg(feature = "codegen")]
use flatc::generate_body;

/// Says which feature is missing.
#[cfg(not(feature = "codegen"))]
fn generate_body() -> Result<String, Failure> {
    Err(format!("built without flatc; {HINT} (needs cmake and a C++ compiler)").into())
}

/// What stands above the generated body.
fn header(schema: &str, body: &str) -> String {
    format!(
        "//! Accessors of a stored record, generated from `{SCHEMA}`; never edited by hand.\n\
         //!\n\
         //! Written by `{COMMAND}`.\n\
         //! {SCHEMA_HASH}{}\n\
         //! {BODY_HASH}{}\n",
        sha256_hex(schema.as_bytes()),
        sha256_hex(body.as_bytes()),
    )
}

fn sha256_hex(bytes: &[u8]) -> String {
    faster_hex::hex_string(Sha256::digest(bytes).as_slice())
}

fn read(path: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(path)
        .map_err(|error| format!("read {}: {error}", path.display()).into())
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn schema_path() -> PathBuf {
    root().join(SCHEMA)
}

fn generated_path() -> PathBuf {
    root().join(GENERATED)
}

const SCHEMA: &str = "schema/event.fbs";
const GENERATED: &str = "src/store/record/generated.rs";
const COMMAND: &str = "cargo run -p tools --features codegen -- codegen";
const HINT: &str = "run `cargo run -p tools --features codegen -- codegen`";
const SCHEMA_HASH: &str = "schema-sha256: ";
const BODY_HASH: &str = "body-sha256: ";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_code_is_the_schemas_and_untouched() {
        let schema = read(&schema_path()).expect("the schema is committed");
        let generated = read(&generated_path()).expect("the generated code is committed");
        let mark = generated.find(BODY_HASH).expect("the header names the body's hash");
        let line = generated[mark..].find('\n').expect("the header's last line ends");
        let body = &generated[mark + line + 1..];
        let expected = header(&schema, body);
        let found = &generated[..mark + line + 1];
        assert_eq!(found, expected, "{HINT}");
    }
}
