//! The files that are the same for every relay.

use std::sync::LazyLock;

use super::file::File;

/// Where the page of administrators is.
pub(in crate::server) const ADMIN: &str = "/admin";

/// Returns the file at this path.
pub(in crate::server) fn find(path: &str) -> Option<&'static File> {
    LIBRARY.iter().find(|(known, _)| *known == path).map(|(_, file)| file)
}

static LIBRARY: LazyLock<Vec<(&str, File)>> = LazyLock::new(|| {
    FILES.iter().map(|(path, kind, text)| (*path, File::new(kind, text.as_bytes()))).collect()
});

const HTML: &str = "text/html; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const IMAGE: &str = "image/svg+xml";

/// Paths, types and texts.
const FILES: &[(&str, &str, &str)] = &[
    ("/pages/mark.svg", IMAGE, include_str!("files/mark.svg")),
    ("/pages/base.css", STYLE, include_str!("files/base.css")),
    ("/pages/front.css", STYLE, include_str!("files/front.css")),
    ("/pages/front.js", SCRIPT, include_str!("files/front.js")),
    (ADMIN, HTML, include_str!("files/admin.html")),
    ("/pages/admin.css", STYLE, include_str!("files/admin.css")),
    ("/pages/admin.js", SCRIPT, include_str!("files/admin.js")),
    ("/pages/api.js", SCRIPT, include_str!("files/api.js")),
    ("/pages/chart.js", SCRIPT, include_str!("files/chart.js")),
    ("/pages/dom.js", SCRIPT, include_str!("files/dom.js")),
    ("/pages/moderation.js", SCRIPT, include_str!("files/moderation.js")),
    ("/pages/nostr.js", SCRIPT, include_str!("files/nostr.js")),
    ("/pages/overview.js", SCRIPT, include_str!("files/overview.js")),
    ("/pages/relay.js", SCRIPT, include_str!("files/relay.js")),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_are_small_and_take_nothing_from_elsewhere() {
        let is_of_front = |path: &str| path.contains("front.");
        let admin = FILES.iter().filter(|(path, ..)| !is_of_front(path));
        let bytes: usize = admin.map(|(_, _, text)| text.len()).sum();
        assert!(bytes <= 68 * 1024, "{bytes} bytes are more than such a page needs");
        for (path, _, text) in FILES {
            assert!(!text.contains("innerHTML"), "{path} writes HTML of its own");
            let texts = text.replace("http://www.w3.org/2000/svg", "");
            assert!(!texts.contains("://"), "{path} names an address");
            assert!(find(path).is_some(), "{path}");
        }
    }
}
