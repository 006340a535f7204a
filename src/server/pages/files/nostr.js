// What Nostr writes in its own way: keys and ids in bech32 (NIP-19), hashes, base64.

const DIGITS = "qpzry9x8gf2tvdw0s3jn54khce6mua7l";

function checksum(prefix, groups) {
  const codes = [...prefix].map((it) => it.charCodeAt(0));
  let sum = 1;
  for (const group of [...codes.map((it) => it >> 5), 0, ...codes.map((it) => it & 31), ...groups]) {
    const top = sum >>> 25;
    sum = ((sum & 0x1ffffff) << 5) ^ group;
    [0x3b6a57b2, 0x26508e6d, 0x1ea119fa, 0x3d4233dd, 0x2a1462b3].forEach((term, place) => {
      if ((top >> place) & 1) sum ^= term;
    });
  }
  return sum >>> 0;
}

// Cuts numbers of so many bits into numbers of so many others.
function regroup(numbers, from, to, padded) {
  const out = [];
  let bits = 0;
  let count = 0;
  for (const number of numbers) {
    bits = ((bits << from) | number) & 0xfff;
    count += from;
    while (count >= to) {
      count -= to;
      out.push((bits >> count) & ((1 << to) - 1));
    }
  }
  if (padded && count) out.push((bits << (to - count)) & ((1 << to) - 1));
  return out;
}

export const bytesOf = (hex) => hex.match(/../g).map((it) => parseInt(it, 16));
export const hexOf = (bytes) => [...bytes].map((it) => it.toString(16).padStart(2, "0")).join("");

function encode(prefix, hex) {
  const groups = regroup(bytesOf(hex), 8, 5, true);
  const sum = checksum(prefix, [...groups, 0, 0, 0, 0, 0, 0]) ^ 1;
  for (let place = 5; place >= 0; place--) groups.push((sum >>> (5 * place)) & 31);
  return `${prefix}1${groups.map((it) => DIGITS[it]).join("")}`;
}

export const npub = (hex) => encode("npub", hex);
export const note = (hex) => encode("note", hex);

// Returns what a text names: { key } or { id }, in hexadecimal, or { either } if it does not say which.
export function read(text) {
  const plain = text.trim().toLowerCase().replace(/^nostr:/, "");
  if (/^[0-9a-f]{64}$/.test(plain)) return { either: plain };
  const [, prefix, data] = /^([a-z]+)1([a-z0-9]+)$/.exec(plain) ?? [];
  const groups = [...(data ?? "")].map((it) => DIGITS.indexOf(it));
  if (groups.length < 7 || groups.includes(-1) || checksum(prefix, groups) !== 1) return null;
  const bytes = regroup(groups.slice(0, -6), 5, 8, false);
  // nprofile and nevent are lists of (type, length, value); type 0 is what they are about.
  const [type, length, ...rest] = bytes;
  const about = type === 0 && length === 32 ? hexOf(rest.slice(0, 32)) : null;
  const whole = bytes.length === 32 ? hexOf(bytes) : null;
  const found = { npub: { key: whole }, nprofile: { key: about }, note: { id: whole }, nevent: { id: about } };
  const it = found[prefix];
  return it && (it.key || it.id) ? it : null;
}

// SHA-256, because browsers have one for pages over TLS only.
export function sha256(bytes) {
  const length = bytes.length;
  const padded = new Uint8Array(((length + 72) >> 6) << 6);
  padded.set(bytes);
  padded[length] = 0x80;
  const view = new DataView(padded.buffer);
  view.setUint32(padded.length - 8, Math.floor(length / 0x20000000));
  view.setUint32(padded.length - 4, length << 3);
  const state = START.slice();
  const words = new Uint32Array(64);
  const turn = (it, by) => (it >>> by) | (it << (32 - by));
  for (let at = 0; at < padded.length; at += 64) {
    for (let i = 0; i < 16; i++) words[i] = view.getUint32(at + 4 * i);
    for (let i = 16; i < 64; i++) {
      const [x, y] = [words[i - 15], words[i - 2]];
      const small = turn(x, 7) ^ turn(x, 18) ^ (x >>> 3);
      const large = turn(y, 17) ^ turn(y, 19) ^ (y >>> 10);
      words[i] = words[i - 16] + small + words[i - 7] + large;
    }
    let [a, b, c, d, e, f, g, h] = state;
    for (let i = 0; i < 64; i++) {
      const one = h + (turn(e, 6) ^ turn(e, 11) ^ turn(e, 25)) + ((e & f) ^ (~e & g)) + ROUNDS[i] + words[i];
      const two = (turn(a, 2) ^ turn(a, 13) ^ turn(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));
      [h, g, f, e, d, c, b, a] = [g, f, e, (d + one) | 0, c, b, a, (one + two) | 0];
    }
    [a, b, c, d, e, f, g, h].forEach((it, i) => { state[i] = (state[i] + it) | 0; });
  }
  return state.map((it) => (it >>> 0).toString(16).padStart(8, "0")).join("");
}

// The roots of the first primes, as far as 32 bits show them behind the point.
const primes = [];
for (let n = 2; primes.length < 64; n++) if (primes.every((p) => n % p)) primes.push(n);
const fraction = (it) => ((it - Math.floor(it)) * 0x100000000) | 0;
const START = primes.slice(0, 8).map((p) => fraction(Math.sqrt(p)));
const ROUNDS = primes.map((p) => fraction(Math.cbrt(p)));

export const utf8 = (text) => new TextEncoder().encode(text);
export const base64 = (text) => btoa(String.fromCharCode(...utf8(text)));
