//! One tab, used as a person does: by what stands on buttons and beside fields.

use std::path::Path;

use serde_json::{Value, json};

use super::devtools::{DevTools, Seen};
use super::process::Process;
use crate::signer::{BINDING, Signer};

/// A tab of a browser of its own.
pub struct Tab {
    tools: DevTools,
    _process: Process,
}

/// How a page is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// `light` or `dark`.
    pub scheme: &'static str,
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
}

impl Tab {
    /// Opens a tab; nothing if there is no browser.
    pub fn open() -> Option<Tab> {
        Tab::open_with(None)
    }

    /// Opens a tab in a browser that has an extension; nothing if there is no browser.
    pub fn open_with(extension: Option<&Path>) -> Option<Tab> {
        let process = Process::start(extension)?;
        let mut tab = Tab { tools: DevTools::connect(process.address()), _process: process };
        tab.look(Look { scheme: "light", width: 1280, height: 900 });
        Some(tab)
    }

    /// Puts an extension that signs into the tab (NIP-07); pages that are opened later have it.
    pub fn install(&mut self, signer: Signer) {
        self.tools.call("Runtime.addBinding", json!({"name": BINDING}));
        self.prepare(&signer.script());
        self.tools.signer = Some(signer);
    }

    /// Runs a script in pages that are opened later, before those of the page.
    pub fn prepare(&mut self, script: &str) {
        self.tools.call("Page.addScriptToEvaluateOnNewDocument", json!({"source": script}));
    }

    /// Opens an address and waits until it is loaded.
    #[track_caller]
    pub fn go(&mut self, url: &str) {
        let loads = self.tools.seen.loads;
        let answer = self.tools.call("Page.navigate", json!({"url": url}));
        assert!(answer["errorText"].is_null(), "{url}: {answer}");
        self.tools.attend_until(url, |seen| seen.loads > loads);
    }

    /// Loads the page again.
    #[track_caller]
    pub fn reload(&mut self) {
        let loads = self.tools.seen.loads;
        self.tools.call("Page.reload", json!({}));
        self.tools.attend_until("a page that is loaded again", |seen| seen.loads > loads);
    }

    /// Looks at pages in this way from here on.
    pub fn look(&mut self, look: Look) {
        let features = json!([
            {"name": "prefers-color-scheme", "value": look.scheme},
            // Nothing is to be between two colours when it is looked at.
            {"name": "prefers-reduced-motion", "value": "reduce"},
        ]);
        self.tools.call("Emulation.setEmulatedMedia", json!({"features": features}));
        let size = json!({
            "width": look.width, "height": look.height, "deviceScaleFactor": 1, "mobile": false,
        });
        self.tools.call("Emulation.setDeviceMetricsOverride", size);
    }

    /// Returns the value of an expression, awaited if it is a promise.
    ///
    /// # Panics
    ///
    /// If it throws.
    #[track_caller]
    pub fn value(&mut self, expression: &str) -> Value {
        let command = json!({
            "expression": expression, "awaitPromise": true, "returnByValue": true,
            "userGesture": true,
        });
        let answer = self.tools.call("Runtime.evaluate", command);
        let error = &answer["exceptionDetails"];
        assert!(error.is_null(), "{expression}: {error}");
        answer["result"]["value"].clone()
    }

    /// Waits until an expression is true.
    ///
    /// # Panics
    ///
    /// If it does not become so for a while; with what the page shows.
    #[track_caller]
    pub fn until(&mut self, expression: &str) {
        let script = format!(
            "new Promise((done) => {{
               const end = Date.now() + 20000;
               const look = () => {{
                 const is_true = Boolean({expression});
                 if (is_true || Date.now() > end) done(is_true); else setTimeout(look, 20);
               }};
               look();
             }})"
        );
        if self.value(&script) != json!(true) {
            let text = self.text();
            let faults = &self.tools.seen.faults;
            panic!("{expression} does not become true; the page says:\n{text}\n{faults:#?}");
        }
    }

    /// Waits until the page shows a text.
    #[track_caller]
    pub fn until_shown(&mut self, text: &str) {
        self.until(&format!("document.body.innerText.includes({})", json!(text)));
    }

    /// Waits until the page no longer shows a text.
    #[track_caller]
    pub fn until_gone(&mut self, text: &str) {
        self.until(&format!("!document.body.innerText.includes({})", json!(text)));
    }

    /// Returns what the page shows.
    pub fn text(&mut self) -> String {
        self.value("document.body.innerText").as_str().unwrap_or_default().to_owned()
    }

    /// Presses the button or link that has this name, once it is there; of several, the first.
    #[track_caller]
    pub fn press(&mut self, name: &str) {
        self.press_in("body", name);
    }

    /// Presses the button or link of this name in the first part that the selector finds.
    #[track_caller]
    pub fn press_in(&mut self, part: &str, name: &str) {
        let script = format!(
            "[...(document.querySelector({})?.querySelectorAll('button, a, [role=button]') ?? [])]
               .find((it) => it.checkVisibility() && it.ariaDisabled !== 'true'
                 && (it.ariaLabel || it.innerText).trim() === {})",
            json!(part),
            json!(name)
        );
        self.until(&script);
        self.value(&format!("{script}.click()"));
    }

    /// Writes into the field with this label.
    #[track_caller]
    pub fn write(&mut self, label: &str, text: &str) {
        let script = format!(
            "[...document.querySelectorAll('label')].map((it) => it.control && it.checkVisibility()
               && it.innerText.trim().startsWith({}) && it.control).find(Boolean)",
            json!(label)
        );
        self.until(&script);
        self.value(&format!(
            "{{ const field = {script}; field.focus(); field.value = {};
               field.dispatchEvent(new Event('input', {{ bubbles: true }}));
               field.dispatchEvent(new Event('change', {{ bubbles: true }})); }}",
            json!(text)
        ));
    }

    /// Presses a key of the keyboard.
    pub fn key(&mut self, key: &str, code: u32) {
        for kind in ["rawKeyDown", "keyUp"] {
            let event = json!({
                "type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code,
            });
            self.tools.call("Input.dispatchKeyEvent", event);
        }
    }

    /// Returns what has happened so far.
    pub fn seen(&self) -> &Seen {
        &self.tools.seen
    }

    /// Asserts that nothing was asked of another host, that no script failed and that the page kept
    /// to its content security policy.
    ///
    /// # Panics
    ///
    /// If that is not so.
    #[track_caller]
    pub fn assert_clean(&self, origin: &str) {
        let seen = &self.tools.seen;
        assert!(seen.faults.is_empty(), "{:#?}", seen.faults);
        let is_own = |url: &&String| url.starts_with(origin) || url.starts_with("data:");
        let foreign: Vec<&String> = seen.requests.iter().filter(|url| !is_own(url)).collect();
        assert!(foreign.is_empty(), "only {origin} is asked, not {foreign:?}");
    }

    /// Writes a picture of the whole page into the folder that `PAGES_PICTURES` names, if it does.
    pub fn picture(&mut self, name: &str) {
        let Some(folder) = std::env::var_os("PAGES_PICTURES") else { return };
        let options = json!({"format": "png", "captureBeyondViewport": true});
        let answer = self.tools.call("Page.captureScreenshot", options);
        let bytes = from_base64(answer["data"].as_str().unwrap_or_default());
        let path = Path::new(&folder).join(format!("{name}.png"));
        std::fs::write(path, bytes).expect("the folder of pictures can be written to");
    }
}

fn from_base64(text: &str) -> Vec<u8> {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut bytes, mut bits, mut count) = (Vec::with_capacity(text.len()), 0_u32, 0);
    for digit in text.bytes() {
        let Some(value) = alphabet.iter().position(|it| *it == digit) else { break };
        bits = bits << 6 | value as u32;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count & 255) as u8);
        }
    }
    bytes
}
