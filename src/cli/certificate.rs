//! The certificate that the relay proves its name with: read from its files, renewed while the relay
//! serves, and what there is to say of it before clients do.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use super::exit::Failure;
use crate::config::Settings;
use crate::net::{Certificate, CertificatePart};
use crate::nostr::RelayUrl;

/// Reads the certificate and the key that the settings name, if they name any.
///
/// # Errors
///
/// If a file cannot be read, or they cannot be used. Whether the time is right is a [`Remark`]: a
/// relay that does not start for it would serve nobody at all.
pub(super) fn read(settings: &Settings) -> Result<Option<Arc<Certificate>>, Failure> {
    let Some((chain, key)) = files(settings) else { return Ok(None) };
    let certificate = Certificate::from_pem(
        &read_file("tls.certificate_file", chain)?,
        &read_file("tls.key_file", key)?,
    );
    certificate.map(|it| Some(Arc::new(it))).map_err(|error| {
        let (name, path) = match error.part() {
            CertificatePart::Chain => ("tls.certificate_file", chain),
            CertificatePart::Key => ("tls.key_file", key),
        };
        let failure = Failure::usage(format!("{name}: {}: {error}", path.display()));
        match error.hint() {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    })
}

fn files(settings: &Settings) -> Option<(&Path, &Path)> {
    settings.tls.certificate_file.as_deref().zip(settings.tls.key_file.as_deref())
}

fn read_file(name: &str, path: &Path) -> Result<Vec<u8>, Failure> {
    let shown = path.display();
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(FILE_BYTES_MAX).read_to_end(&mut bytes));
    match read {
        Ok(_) => Ok(bytes),
        Err(error) => {
            let failure = Failure::usage(format!("{name}: {shown}: failed to read it: {error}"));
            Err(failure.hint("the user that the relay runs as has to be able to read it"))
        }
    }
}

/// Something about a certificate that is usable and yet not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Remark {
    /// Whether clients are turned away by it already.
    pub(super) is_severe: bool,
    text: String,
}

impl fmt::Display for Remark {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

/// Returns all there is to remark at this second.
pub(super) fn remarks(settings: &Settings, certificate: &Certificate, now: u64) -> Vec<Remark> {
    let mut found: Vec<Remark> = of_time(certificate, now).into_iter().collect();
    let mut add = |text: String| found.push(Remark { is_severe: false, text });
    if certificate.is_alone() {
        add("tls.certificate_file has no certificate of who vouches for it, which clients may miss \
             (certbot calls the file with both fullchain.pem)"
            .to_owned());
    }
    let is_open = |(_, key): (&Path, &Path)| {
        key.metadata().is_ok_and(|it| it.permissions().mode() & READ_BY_ALL != 0)
    };
    if files(settings).is_some_and(is_open) {
        add("tls.key_file can be read by every user of this machine; `chmod o= FILE` ends that"
            .to_owned());
    }
    let urls = &settings.relay.url;
    if urls.is_empty() {
        add("relay.url is not set: clients that come over TLS cannot prove who they are (NIP-42)"
            .to_owned());
    }
    for url in urls.iter().filter(|url| url.to_ascii_lowercase().starts_with("wss:")) {
        let is_right = RelayUrl::parse(url).is_none_or(|url| certificate.is_for(url.host()));
        if !is_right {
            add(format!("the certificate is not for {url} (relay.url)"));
        }
    }
    found
}

fn of_time(certificate: &Certificate, now: u64) -> Option<Remark> {
    let (begin, end) = (certificate.begins_at(), certificate.ends_at());
    let remark = |is_severe, text| Some(Remark { is_severe, text });
    if end <= now {
        let text =
            format!("the certificate has expired {} ago; clients refuse it", span(now - end));
        return remark(true, text);
    }
    if begin > now {
        let text = format!(
            "the certificate is not valid before {} from now; is the clock of this machine right?",
            span(begin - now)
        );
        return remark(true, text);
    }
    // Short ones are renewed late in their lives, too.
    let short = SHORT_SECS.min((end - begin) / 6);
    let text = || format!("the certificate expires in {}; is it being renewed?", span(end - now));
    if end - now < short { remark(false, text()) } else { None }
}

/// Says how long a certificate is good from this second on.
pub(super) fn time_left(certificate: &Certificate, now: u64) -> String {
    match certificate.ends_at().checked_sub(now) {
        Some(secs @ 1..) => format!("expires in {}", span(secs)),
        _ => "has expired".to_owned(),
    }
}

fn span(secs: u64) -> String {
    match (secs / 86_400, secs / 3_600) {
        (0, 0) => "less than an hour".to_owned(),
        (0, 1) => "an hour".to_owned(),
        (0, hours) => format!("{hours} hours"),
        (1, _) => "a day".to_owned(),
        (days, _) => format!("{days} days"),
    }
}

/// Who keeps the certificate of a serving relay.
#[derive(Default)]
pub(super) struct Custody {
    current: Option<Arc<Certificate>>,
    reminded_at: u64,
}

impl Custody {
    /// Takes over the certificate that the relay starts with, and says what is wrong with it.
    pub(super) fn begin(
        settings: &Settings,
        certificate: Option<Arc<Certificate>>,
        now: u64,
    ) -> Custody {
        if let Some(certificate) = &certificate {
            remarks(settings, certificate, now).iter().for_each(tell);
        }
        Custody { current: certificate, reminded_at: now }
    }

    /// Returns the certificate to go on with: the one that is in the files, if it is better than
    /// none at all; else the one that there is.
    pub(super) fn renewed(&mut self, settings: &Settings, now: u64) -> Option<Arc<Certificate>> {
        let current = self.current.as_ref()?;
        let read = match read(settings) {
            Ok(Some(read)) => read,
            Ok(None) => return self.current.clone(),
            Err(failure) => {
                for (error, hint) in failure.messages() {
                    let left = time_left(current, now);
                    tracing::error!(hint, "{KEPT} ({left}), the new one is of no use: {error}");
                }
                return self.current.clone();
            }
        };
        if read.is_same(current) {
            return self.current.clone();
        }
        if read.ends_at() <= now && current.ends_at() > now {
            let left = time_left(current, now);
            tracing::error!("{KEPT} ({left}), the new one has expired already");
            return self.current.clone();
        }
        tracing::info!("there is another certificate, which {}", time_left(&read, now));
        remarks(settings, &read, now).iter().for_each(tell);
        self.reminded_at = now;
        self.current = Some(read);
        self.current.clone()
    }

    /// Says once a day that the certificate ends soon.
    pub(super) fn remind(&mut self, now: u64) {
        let Some(certificate) = &self.current else { return };
        if now.saturating_sub(self.reminded_at) >= REMINDER_SECS {
            self.reminded_at = now;
            of_time(certificate, now).iter().for_each(tell);
        }
    }
}

fn tell(remark: &Remark) {
    if remark.is_severe {
        tracing::error!("{remark}");
    } else {
        tracing::warn!("{remark}");
    }
}

const KEPT: &str = "the certificate stays as it was";
/// A chain has some kilobytes.
const FILE_BYTES_MAX: u64 = 1 << 20;
const READ_BY_ALL: u32 = 0o004;
/// Certificates of three months are renewed a month before their end.
const SHORT_SECS: u64 = 14 * 86_400;
const REMINDER_SECS: u64 = 86_400;

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 86_400;

    fn certificate() -> Certificate {
        let chain = include_bytes!("../../tests/chappe/fixtures/tls/localhost.pem");
        let key = include_bytes!("../../tests/chappe/fixtures/tls/localhost.key.pem");
        Certificate::from_pem(chain, key).expect("they are a pair")
    }

    #[test]
    fn the_end_of_a_certificate_is_remarked_on_in_its_last_days_and_after_it() {
        let certificate = certificate();
        let (begin, end) = (certificate.begins_at(), certificate.ends_at());
        let said = |now| of_time(&certificate, now).map(|it| (it.is_severe, it.to_string()));
        for quiet in [begin, end - 14 * DAY] {
            assert_eq!(said(quiet), None);
        }
        let rows = [
            (begin - 1, true, "is not valid before less than an hour from now"),
            (end - 14 * DAY + 1, false, "expires in 13 days; is it being renewed?"),
            (end - DAY, false, "expires in a day"),
            (end - 7_200, false, "expires in 2 hours"),
            (end - 1, false, "expires in less than an hour"),
            (end, true, "has expired less than an hour ago; clients refuse it"),
            (end + 3 * DAY, true, "has expired 3 days ago"),
        ];
        for (now, is_severe, expected) in rows {
            let (found, text) = said(now).expect(expected);
            assert!(text.contains(expected) && found == is_severe, "{text}");
        }
    }

    #[test]
    fn a_relay_without_a_certificate_gets_none_by_a_renewal() {
        let mut custody = Custody::begin(&Settings::default(), None, 0);
        custody.remind(u64::MAX);
        assert!(custody.renewed(&Settings::default(), 0).is_none());
        // What is in the settings no more stays until the restart that this needs.
        let certificate = Arc::new(certificate());
        let now = certificate.begins_at();
        let mut custody = Custody::begin(&Settings::default(), Some(certificate), now);
        assert!(custody.renewed(&Settings::default(), now).is_some());
    }
}
