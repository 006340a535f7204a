//! The DevTools protocol: commands and their answers over one websocket, and what happens meanwhile.

use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};
use tungstenite::{Message, WebSocket};

use crate::signer::Signer;

/// A session with one tab.
pub(super) struct DevTools {
    socket: WebSocket<TcpStream>,
    session: Option<String>,
    commands: u64,
    /// What has happened in the tab so far.
    pub(super) seen: Seen,
    /// Who signs for the page.
    pub(super) signer: Option<Signer>,
}

/// What has happened in a tab.
#[derive(Debug, Default)]
pub struct Seen {
    /// How many pages were loaded.
    pub loads: u32,
    /// Addresses that were asked for.
    pub requests: Vec<String>,
    /// Errors of scripts, and violations of the content security policy.
    pub faults: Vec<String>,
    /// Events that the page had signed.
    pub signed: u32,
}

impl DevTools {
    /// Opens a tab of the browser at this address.
    ///
    /// # Panics
    ///
    /// If the browser does not answer.
    pub(super) fn connect(address: &str) -> DevTools {
        let rest = address.strip_prefix("ws://").expect("the address of a websocket");
        let host = rest.split('/').next().expect("splitting gives a first part");
        let stream = TcpStream::connect(host).expect("the browser listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time-out is legal");
        let (socket, _) = tungstenite::client(address, stream).expect("the browser takes us");
        let (seen, commands) = (Seen::default(), 0);
        let mut tools = DevTools { socket, session: None, commands, seen, signer: None };
        let target = tools.call("Target.createTarget", json!({"url": "about:blank"}));
        let target = json!({"targetId": target["targetId"], "flatten": true});
        let session = tools.call("Target.attachToTarget", target);
        tools.session = session["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page", "Runtime", "Network", "Log", "Audits"] {
            tools.call(&format!("{domain}.enable"), json!({}));
        }
        tools
    }

    /// Gives a command and returns the answer.
    ///
    /// # Panics
    ///
    /// If it is refused, or not answered for a while.
    #[track_caller]
    pub(super) fn call(&mut self, method: &str, parameters: Value) -> Value {
        let number = self.send(method, parameters);
        loop {
            let message = self.receive(method);
            if message["id"] == number {
                assert!(message["error"].is_null(), "{method}: {}", message["error"]);
                return message["result"].clone();
            }
        }
    }

    /// Attends to what happens until enough of it has.
    ///
    /// # Panics
    ///
    /// If it does not for a while.
    #[track_caller]
    pub(super) fn attend_until(&mut self, what: &str, is_enough: impl Fn(&Seen) -> bool) {
        while !is_enough(&self.seen) {
            self.receive(what);
        }
    }

    fn send(&mut self, method: &str, parameters: Value) -> u64 {
        self.commands += 1;
        let mut command = json!({"id": self.commands, "method": method, "params": parameters});
        if let Some(session) = &self.session {
            command["sessionId"] = json!(session);
        }
        self.socket.send(Message::text(command.to_string())).expect("the browser runs");
        self.commands
    }

    #[track_caller]
    fn receive(&mut self, what: &str) -> Value {
        let message = self.socket.read();
        let message = message.unwrap_or_else(|error| {
            panic!("the browser says nothing of {what}: {error}\n{:#?}", self.seen)
        });
        let text = message.to_text().expect("the browser speaks text");
        let message: Value = serde_json::from_str(text).unwrap_or_default();
        self.note(&message);
        message
    }

    fn note(&mut self, message: &Value) {
        let parameters = &message["params"];
        match message["method"].as_str().unwrap_or_default() {
            "Page.loadEventFired" => self.seen.loads += 1,
            "Network.requestWillBeSent" => {
                let url = parameters["request"]["url"].as_str().unwrap_or_default();
                self.seen.requests.push(url.to_owned());
            }
            "Runtime.exceptionThrown" => self.seen.faults.push(parameters.to_string()),
            "Audits.issueAdded" if parameters["issue"]["code"] == "ContentSecurityPolicyIssue" => {
                self.seen.faults.push(parameters.to_string());
            }
            // What the network says of refusals is up to each test.
            "Log.entryAdded"
                if parameters["entry"]["level"] == "error"
                    && parameters["entry"]["source"] != "network" =>
            {
                self.seen.faults.push(parameters.to_string());
            }
            "Runtime.bindingCalled" => self.sign(parameters["payload"].as_str()),
            _ => {}
        }
    }

    fn sign(&mut self, wish: Option<&str>) {
        let wish: Value = serde_json::from_str(wish.unwrap_or_default()).unwrap_or_default();
        let answer = match &self.signer {
            Some(signer) => signer.sign(&wish["event"]),
            None => Value::Null,
        };
        self.seen.signed += 1;
        let expression = format!("window.answerWish({}, {answer})", wish["number"]);
        self.send("Runtime.evaluate", json!({"expression": expression}));
    }
}

/// How long the browser may be silent while something is waited for.
const PATIENCE: Duration = Duration::from_secs(30);
