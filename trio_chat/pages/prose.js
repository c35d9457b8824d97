// A message's text as nodes: words, and links where there are addresses.
//
// Nothing else is interpreted, and nothing is ever parsed as HTML: text becomes text nodes. Only
// http and https lead anywhere. An address ends before a bidirectional control, which could
// otherwise make it read as another one.

const ADDRESS = /https?:\/\/[^\s<>"\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]+/giu;
const PUNCTUATION = /[.,:;!?'’”»…*_~]+$/u;

/** Cut `text` into strings and `{ href, text }`, which joined make the text again. */
export function findLinks(text) {
  const parts = [];
  let end = 0;
  for (const { 0: match, index } of text.matchAll(ADDRESS)) {
    const found = withoutWhatFollows(match);
    if (!isAddress(found)) continue;
    if (index > end) parts.push(text.slice(end, index));
    parts.push({ href: found, text: found });
    end = index + found.length;
  }
  if (end < text.length) parts.push(text.slice(end));
  return parts;
}

/** The nodes of a text. */
export function prose(text) {
  return findLinks(text).map((part) => (typeof part === "string" ? part : link(part)));
}

function link({ href, text }) {
  const anchor = document.createElement("a");
  anchor.href = href;
  anchor.textContent = text;
  anchor.target = "_blank";
  anchor.rel = "noopener noreferrer nofollow";
  anchor.dir = "ltr";
  return anchor;
}

// "(see https://example.org/a_(b)). It…": the last bracket and the full stop are the sentence's.
function withoutWhatFollows(address) {
  for (;;) {
    const shorter = address.replace(PUNCTUATION, "");
    const closes = /[)\]}]$/.test(shorter) && !isBalanced(shorter);
    const next = closes ? shorter.slice(0, -1) : shorter;
    if (next === address) return address;
    address = next;
  }
}

function isBalanced(text) {
  const count = (character) => text.split(character).length;
  return ["()", "[]", "{}"].every(([open, close]) => count(open) >= count(close));
}

function isAddress(text) {
  try {
    return ["http:", "https:"].includes(new URL(text).protocol);
  } catch {
    return false;
  }
}
