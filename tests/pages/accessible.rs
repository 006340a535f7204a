//! What every page owes to everybody: contrast, names of what can be pressed, an order of the
//! keyboard.

use std::collections::BTreeSet;

use pages::Tab;
use serde_json::{Value, json};

/// Asserts that texts can be read, and that everything that can be used has a name and a place in
/// the order of the Tab key.
#[track_caller]
pub(crate) fn assert_accessible(tab: &mut Tab) {
    let faults = tab.value(FAULTS);
    assert_eq!(faults, json!([]), "{faults:#}");
    assert_reached_by_keyboard(tab);
}

/// Presses Tab through the page: everything that can be used gets its turn, and shows it.
#[track_caller]
fn assert_reached_by_keyboard(tab: &mut Tab) {
    let expected = tab.value(&format!("({USABLE}).length")).as_u64().unwrap_or_default();
    // From the last one on, the first is next; in between the browser may have a turn of its own.
    tab.value(&format!("({USABLE}).at(-1).focus()"));
    let mut reached = Vec::new();
    for _ in 0..=expected {
        tab.key("Tab", 9);
        let found = tab.value(&format!(
            "{{ const it = document.activeElement; const style = getComputedStyle(it);
               [({USABLE}).indexOf(it), style.outlineStyle, parseFloat(style.outlineWidth),
                it.outerHTML.slice(0, 80)] }}"
        ));
        reached.push(found);
    }
    let is_hidden = |it: &&Value| it[0] != -1 && (it[1] == "none" || it[2].as_f64() < Some(1.0));
    let hidden: Vec<&Value> = reached.iter().filter(is_hidden).collect();
    assert!(hidden.is_empty(), "focus cannot be seen: {hidden:?}");
    let places: BTreeSet<i64> = reached.iter().filter_map(|it| it[0].as_i64()).collect();
    let all: BTreeSet<i64> = (0..i64::try_from(expected).unwrap_or(i64::MAX)).collect();
    assert!(places.is_superset(&all), "each of {expected} gets its turn: {reached:?}");
}

/// What can be used, as a list.
const USABLE: &str = "[...document.querySelectorAll(
    'a[href], button, input, select, summary, textarea, [tabindex=\"0\"]')]
  .filter((it) => it.checkVisibility() && it.tabIndex >= 0
    && !(it.type === 'radio' && !it.checked))";

/// Texts whose contrast is too weak (WCAG 1.4.3), and things to use or to see that have no name.
const FAULTS: &str = r#"{
  const faults = [];
  const numbers = (colour) => {
    const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data].map((it) => it / 255);
  };
  const cache = new Map();
  const colour = (text) => {
    if (!cache.has(text)) cache.set(text, numbers(text));
    return cache.get(text);
  };
  const light = (part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
  const luminance = ([r, g, b]) => 0.2126 * light(r) + 0.7152 * light(g) + 0.0722 * light(b);
  const ground = (element) => {
    for (let it = element; it; it = it.parentElement) {
      const found = colour(getComputedStyle(it).backgroundColor);
      if (found[3] > 0.99) return found;
    }
    return [1, 1, 1, 1];
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !element.checkVisibility()) continue;
    if (element.closest("script, noscript, .skip, [aria-disabled=true], svg")) continue;
    const style = getComputedStyle(element);
    const [a, b] = [luminance(colour(style.color)), luminance(ground(element))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    const size = parseFloat(style.fontSize);
    const isLarge = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    if (ratio < (isLarge ? 3 : 4.5)) {
      faults.push(`contrast ${ratio.toFixed(2)}: ${walker.currentNode.data.trim().slice(0, 40)}`);
    }
  }
  for (const it of document.querySelectorAll("a, button, input, select, textarea, [role=img]")) {
    const label = it.labels?.[0]?.innerText ?? "";
    if (it.checkVisibility() && !(it.ariaLabel || it.getAttribute("aria-labelledby")
      || label.trim() || it.innerText?.trim())) {
      faults.push(`no name: ${it.outerHTML.slice(0, 80)}`);
    }
  }
  for (const it of document.images) if (!it.hasAttribute("alt")) faults.push("no alt");
  if (document.querySelectorAll("h1").length !== 1) faults.push("not one h1");
  if (document.querySelectorAll("main").length !== 1) faults.push("not one main");
  if (!document.documentElement.lang) faults.push("no language");
  if (!document.title) faults.push("no title");
  const ids = [...document.querySelectorAll("[id]")].map((it) => it.id);
  for (const id of ids) if (ids.indexOf(id) !== ids.lastIndexOf(id)) faults.push(`twice: ${id}`);
  faults;
}"#;
