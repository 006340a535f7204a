//! Reading the configuration again while the relay serves: at SIGHUP, and when a file has changed.
//!
//! Files are looked at twice a second instead of being watched: what an editor puts in the place of
//! a file, and what a chain of symbolic links leads to elsewhere, is another file behind the same
//! path, which a look sees on every filesystem and a watch of the old file never tells. A look is
//! one `stat` a file. A change is read at the next look that finds the file as the one before: by
//! then whoever writes it is done.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;

use super::certificate::Custody;
use super::exit::Failure;
use super::log::Log;
use super::peering::Peering;
use super::serve::live;
use crate::clock::Clock;
use crate::config::change::files;
use crate::config::change::loggable;
use crate::config::{Change, ChangedKey, Config, ConfigError, Peer, Settings, Sources, load};
use crate::net::Certificate;
use crate::server::{LiveSettings, Occasion, Steward};

/// Reads the configuration again when there is a reason to.
pub(super) struct Reloads {
    sources: Sources,
    config: Config,
    log: Log,
    watch: Watch,
    /// The certificate, once the relay serves.
    custody: Custody,
    /// The peers, once the relay serves.
    peering: Option<Peering>,
}

impl Reloads {
    /// Reads the configuration for the first time, and starts the log as it says.
    pub(super) fn begin(sources: Sources) -> Result<Reloads, ConfigError> {
        // Looked at before it is read: a change in between is found later.
        let mut watch = Watch::new(paths(&sources, &Settings::default(), &[]));
        let config = load(&sources)?;
        watch.follow(paths(&sources, &config.settings, &config.peers));
        // A file that was read must not be missing later: it would be as if it were empty.
        let sources = Sources { file: config.file.clone(), ..sources };
        let log = Log::start(&config.settings.log);
        let custody = Custody::default();
        Ok(Reloads { sources, config, log, watch, custody, peering: None })
    }

    /// Returns the peers that the configuration names.
    pub(super) fn peers(&self) -> &[Peer] {
        &self.config.peers
    }

    /// Returns the settings in effect.
    pub(super) fn current(&self) -> &Settings {
        &self.config.settings
    }

    /// Keeps the certificate that the relay starts with up to date, from here on.
    pub(super) fn keep_certificate(&mut self, certificate: Option<Arc<Certificate>>) {
        let now = Clock::system().now_secs();
        self.custody = Custody::begin(&self.config.settings, certificate, now);
    }

    /// Follows the peers that the configuration names, from here on.
    pub(super) fn follow_peers(&mut self, mut peering: Peering) -> Result<(), Failure> {
        let plans = peering.plans(&self.config.settings, &self.config.peers)?;
        peering.follow(plans)?;
        self.peering = Some(peering);
        Ok(())
    }

    /// Reads all there is; says what is wrong with it, or what changed.
    fn read(&mut self) -> Option<LiveSettings> {
        let read = load(&self.sources).and_then(|read| Change::between(&self.config, read));
        let change = match read {
            Ok(change) => change,
            Err(error) => {
                tell_problems(&error);
                return None;
            }
        };
        let mut settings = match live(&change.config.settings) {
            Ok(settings) => settings,
            Err(failure) => {
                tell_failure(&failure);
                return None;
            }
        };
        let config = &change.config;
        let plans = self.peering.as_ref().map(|it| it.plans(&config.settings, &config.peers));
        let plans = match plans.transpose() {
            Ok(plans) => plans,
            Err(failure) => {
                tell_failure(&failure);
                return None;
            }
        };
        self.log.set(&change.config.settings.log);
        tell(&change);
        self.config = change.config;
        let now = Clock::system().now_secs();
        settings.certificate = self.custody.renewed(&self.config.settings, now);
        self.sources.file.clone_from(&self.config.file);
        let config = &self.config;
        self.watch.follow(paths(&self.sources, &config.settings, &config.peers));
        if let (Some(peering), Some(plans)) = (&mut self.peering, plans)
            && let Err(failure) = peering.follow(plans)
        {
            tell_failure(&failure);
        }
        Some(settings)
    }
}

impl Steward for Reloads {
    fn settings(&mut self, occasion: Occasion) -> Option<LiveSettings> {
        self.custody.remind(Clock::system().now_secs());
        match occasion {
            Occasion::Signal => self.watch.note(),
            Occasion::Look if !self.watch.has_changed() => return None,
            Occasion::Look => {}
        }
        self.read()
    }

    fn stopping(&mut self) {
        if let Some(peering) = self.peering.take() {
            peering.stop();
        }
    }
}

/// Returns the files that make the configuration.
fn paths(sources: &Sources, settings: &Settings, peers: &[Peer]) -> Vec<PathBuf> {
    let file = sources.file.as_ref().unwrap_or(&sources.default_file);
    let mut paths = vec![file.clone()];
    paths.extend(files(settings, peers));
    paths
}

fn tell_problems(error: &ConfigError) {
    for problem in &error.problems {
        let hint = problem.hint.as_deref();
        tracing::error!(hint, "{KEPT}: {problem}");
    }
}

fn tell_failure(failure: &Failure) {
    for (error, hint) in failure.messages() {
        tracing::error!(hint, "{KEPT}: {error}");
    }
}

fn tell(change: &Change) {
    for changed in &change.taken {
        let (key, was, value) = told(changed);
        let origin = &changed.origin;
        tracing::info!(%origin, "{key} is {value}, was {was}");
    }
    for changed in &change.waiting {
        let (key, was, value) = told(changed);
        let origin = &changed.origin;
        tracing::warn!(%origin, "{key} stays {was} until the relay is restarted, then it is {value}");
    }
    if change.taken.is_empty() && change.waiting.is_empty() && !change.has_other_peers {
        tracing::info!("the configuration was read again, no key has changed");
    }
}

fn told(changed: &ChangedKey) -> (String, String, String) {
    (changed.key.path(), loggable(&changed.before), loggable(&changed.after))
}

const KEPT: &str = "the settings stay as they were, the new ones are not valid";

/// Files that are looked at for changes.
struct Watch {
    files: Vec<(PathBuf, Stamp)>,
    /// What the last look found, if it differs from what was read.
    unsettled: Option<Vec<Stamp>>,
}

/// What tells one state of a file from another: device, inode, size, time of content and of inode;
/// nothing of a file that is not there.
type Stamp = Option<(u64, u64, u64, (i64, i64), (i64, i64))>;

impl Watch {
    fn new(paths: Vec<PathBuf>) -> Watch {
        let mut watch = Watch { files: Vec::new(), unsettled: None };
        watch.follow(paths);
        watch
    }

    /// Looks at these files from here on; of those it knew it remembers what was read.
    fn follow(&mut self, paths: Vec<PathBuf>) {
        let known = std::mem::take(&mut self.files);
        let stamp = |path: &PathBuf| match known.iter().find(|(known, _)| known == path) {
            Some((_, stamp)) => *stamp,
            None => stamp_of(path),
        };
        self.files = paths.into_iter().map(|path| (path.clone(), stamp(&path))).collect();
    }

    /// Takes what there is for what is being read.
    fn note(&mut self) {
        let stamps = self.look();
        self.take(stamps);
    }

    /// Returns whether there is something to read: it changed since the last reading, and has not
    /// changed since the last look.
    fn has_changed(&mut self) -> bool {
        let found = self.look();
        if self.files.iter().map(|(_, stamp)| stamp).eq(&found) {
            self.unsettled = None;
            return false;
        }
        if self.unsettled.as_ref() != Some(&found) {
            self.unsettled = Some(found);
            return false;
        }
        self.take(found);
        true
    }

    fn look(&self) -> Vec<Stamp> {
        self.files.iter().map(|(path, _)| stamp_of(path)).collect()
    }

    fn take(&mut self, stamps: Vec<Stamp>) {
        self.unsettled = None;
        for (file, stamp) in self.files.iter_mut().zip(stamps) {
            file.1 = stamp;
        }
    }
}

fn stamp_of(path: &PathBuf) -> Stamp {
    let file = fs::metadata(path).ok()?;
    let (content, inode) = ((file.mtime(), file.mtime_nsec()), (file.ctime(), file.ctime_nsec()));
    Some((file.dev(), file.ino(), file.size(), content, inode))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    /// Looks until nothing is unsettled; returns how often there was something to read.
    fn readings(watch: &mut Watch) -> usize {
        (0..4).filter(|_| watch.has_changed()).count()
    }

    #[test]
    fn a_file_is_read_once_for_each_way_of_changing_it() {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let at = |name: &str| folder.path().join(name);
        let write =
            |name: &str, text: &str| fs::write(at(name), text).expect("files can be written");
        write("config.toml", "a");
        let mut watch = Watch::new(vec![at("config.toml")]);
        assert_eq!(readings(&mut watch), 0);
        write("config.toml", "in place");
        assert_eq!(readings(&mut watch), 1);
        write("other", "in place");
        fs::rename(at("other"), at("config.toml")).expect("files can be renamed");
        assert_eq!(readings(&mut watch), 1);
        fs::remove_file(at("config.toml")).expect("files can be removed");
        assert_eq!(readings(&mut watch), 1);
        write("config.toml", "again");
        assert_eq!(readings(&mut watch), 1);
        assert_eq!(readings(&mut watch), 0);
    }

    #[test]
    fn a_chain_of_links_that_leads_elsewhere_is_a_change() {
        // As container systems mount files: config.toml -> ..data/config.toml, ..data -> a folder.
        let folder = tempfile::tempdir().expect("a temporary directory");
        let at = |name: &str| folder.path().join(name);
        for version in ["1", "2"] {
            fs::create_dir(at(version)).expect("folders can be made");
            fs::write(at(version).join("config.toml"), "same size").expect("files can be written");
        }
        symlink("1", at("..data")).expect("links can be made");
        symlink("..data/config.toml", at("config.toml")).expect("links can be made");
        let mut watch = Watch::new(vec![at("config.toml")]);
        symlink("2", at("..next")).expect("links can be made");
        fs::rename(at("..next"), at("..data")).expect("links can be renamed");
        assert_eq!(readings(&mut watch), 1);
    }

    #[test]
    fn a_file_that_is_still_being_written_is_left_until_it_is_done() {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let path = folder.path().join("config.toml");
        let mut watch = Watch::new(vec![path.clone()]);
        for size in 1..5 {
            fs::write(&path, "x".repeat(size)).expect("files can be written");
            assert!(!watch.has_changed(), "{size} bytes");
        }
        assert!(watch.has_changed());
        fs::write(&path, "x").expect("files can be written");
        watch.note();
        assert_eq!(readings(&mut watch), 0, "a signal has it read at once");
    }
}
