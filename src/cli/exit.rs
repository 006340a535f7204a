//! How a command ends: its exit code and what it says on standard error.

use std::fmt;
use std::io;
use std::process::ExitCode;

use crate::config::ConfigError;

/// Exit codes, which scripts rely on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Done = 0,
    /// The command could not do its work.
    Failed = 1,
    /// The command line, the environment or the configuration is not valid.
    Usage = 2,
    /// The command did its work and found damage, or data that it refuses.
    Refused = 3,
    /// Ended early by an interrupt (Ctrl-C) or a request to terminate; what was reported is kept.
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command did not end well, ready to be printed.
#[derive(Debug)]
pub struct Failure {
    exit: Exit,
    messages: Vec<Message>,
}

/// One error and what to do about it.
#[derive(Debug)]
struct Message {
    error: String,
    hint: Option<String>,
}

impl Failure {
    /// The work could not be done.
    pub fn failed(error: impl fmt::Display) -> Self {
        Self::of(Exit::Failed, error)
    }

    /// The command was called in a way that cannot work.
    pub fn usage(error: impl fmt::Display) -> Self {
        Self::of(Exit::Usage, error)
    }

    /// The work was done and found damage, or data that is refused.
    pub fn refused(error: impl fmt::Display) -> Self {
        Self::of(Exit::Refused, error)
    }

    /// The reader of standard output went away, as `head` does: a quiet and good end.
    pub fn broken_pipe() -> Self {
        Self { exit: Exit::Done, messages: Vec::new() }
    }

    /// Ends with an exit code alone, everything having been said.
    pub fn silent(exit: Exit) -> Self {
        Self { exit, messages: Vec::new() }
    }

    /// Says why output could not be written; a broken pipe is a good end.
    pub fn of_output(error: &io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::broken_pipe();
        }
        Self::failed(format!("failed to write the output: {error}"))
    }

    /// Adds what to do about the last error.
    #[must_use]
    pub fn hint(mut self, hint: impl fmt::Display) -> Self {
        if let Some(message) = self.messages.last_mut() {
            message.hint = Some(hint.to_string());
        }
        self
    }

    /// Adds another error; the exit code stays.
    #[must_use]
    pub fn and(mut self, error: impl fmt::Display) -> Self {
        self.messages.push(Message { error: error.to_string(), hint: None });
        self
    }

    /// Returns each error and what to do about it.
    pub fn messages(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        self.messages.iter().map(|it| (it.error.as_str(), it.hint.as_deref()))
    }

    /// Returns the exit code.
    pub fn exit(&self) -> Exit {
        self.exit
    }

    fn of(exit: Exit, error: impl fmt::Display) -> Self {
        Self { exit, messages: vec![Message { error: error.to_string(), hint: None }] }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for message in &self.messages {
            writeln!(formatter, "error: {}", message.error)?;
            if let Some(hint) = &message.hint {
                writeln!(formatter, "hint: {hint}")?;
            }
        }
        Ok(())
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        let messages = error
            .problems
            .into_iter()
            .map(|problem| Message { error: problem.to_string(), hint: problem.hint })
            .collect();
        Self { exit: Exit::Usage, messages }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Problem;

    #[test]
    fn a_failure_prints_each_error_with_its_hint() {
        let failure = Failure::failed("failed to open x").hint("try y");
        assert_eq!(failure.to_string(), "error: failed to open x\nhint: try y\n");
        let problem = |hint: Option<&str>| Problem {
            place: "config.toml:2".to_owned(),
            text: "bad".to_owned(),
            hint: hint.map(str::to_owned),
        };
        let failure =
            Failure::from(ConfigError { problems: vec![problem(None), problem(Some("mend"))] });
        assert_eq!(
            failure.to_string(),
            "error: config.toml:2: bad\nerror: config.toml:2: bad\nhint: mend\n"
        );
        assert_eq!(failure.exit(), Exit::Usage);
    }

    #[test]
    fn a_broken_pipe_is_a_quiet_good_end() {
        let failure = Failure::of_output(&io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!((failure.exit(), failure.to_string().as_str()), (Exit::Done, ""));
        let failure = Failure::of_output(&io::Error::from(io::ErrorKind::StorageFull));
        assert_eq!(failure.exit(), Exit::Failed);
    }
}
