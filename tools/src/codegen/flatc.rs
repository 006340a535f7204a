//! Runs the vendored `flatc` and makes its output fit to be committed.
//!
//! Compiled with the feature `codegen` only. Needs `rustfmt` in the path.

use std::io::Write as _;
use std::process::{Command, Stdio};

use super::{SCHEMA, read, root, schema_path};
use crate::Failure;

/// Runs the `flatc` that belongs to the runtime's version and tidies what it writes.
pub(super) fn generate_body() -> Result<String, Failure> {
    let folder = std::env::temp_dir().join(format!("chappe-codegen-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let status = Command::new(flatc_fork::flatc())
        .arg("--rust")
        .arg("-o")
        .arg(&folder)
        .arg(schema_path())
        .status()?;
    if !status.success() {
        return Err(format!("flatc refused {SCHEMA}: {status}").into());
    }
    let text = read(&folder.join("event_generated.rs"))?;
    std::fs::remove_dir_all(&folder)?;
    format_code(&format!("{EXPECTED_LINTS}{}", tidy(&text)))
}

/// Makes flatc's output a plain module: without its blanket `allow` attributes (what remains to be
/// excepted from the lints is named once, in [`EXPECTED_LINTS`]) and without the module of the
/// namespace, which would only repeat the crate's name.
fn tidy(text: &str) -> String {
    let skipped = |line: &str| {
        line.starts_with("#[allow(")
            || line == "// @generated"
            || line == "extern crate alloc;"
            || line == "pub mod chappe {"
            || line == "}  // pub mod chappe"
    };
    text.lines().filter(|line| !skipped(line.trim())).map(|line| format!("{line}\n")).collect()
}

/// Formats code as `cargo fmt` would, so that the committed file passes its check.
fn format_code(code: &str) -> Result<String, Failure> {
    let mut child = Command::new("rustfmt")
        .args(["--edition", "2024", "--config-path"])
        .arg(root())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("start rustfmt: {error}"))?;
    let mut input = child.stdin.take().ok_or("rustfmt has no stdin")?;
    let code = code.to_owned();
    let feeder = std::thread::spawn(move || input.write_all(code.as_bytes()));
    let output = child.wait_with_output()?;
    feeder.join().map_err(|_| "the thread that feeds rustfmt panicked")??;
    if !output.status.success() {
        return Err(format!("rustfmt refused the generated code: {}", output.status).into());
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// Opens the body: what generated code does that ours must not.
const EXPECTED_LINTS: &str = "
#![expect(
    dead_code,
    unreachable_pub,
    clippy::extra_unused_lifetimes,
    clippy::undocumented_unsafe_blocks,
    clippy::unwrap_used,
    reason = \"generated code\"
)]
";
