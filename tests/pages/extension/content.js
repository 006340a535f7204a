// Puts a script of the extension into the page, which is how extensions offer window.nostr.
const script = document.createElement("script");
script.src = chrome.runtime.getURL("provider.js");
(document.head ?? document.documentElement).append(script);
