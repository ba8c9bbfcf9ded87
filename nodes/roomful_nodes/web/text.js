/**
 * How names, times and what people wrote are shown. Never as markup: only as text and links.
 */

const LINK = /https?:\/\/[^\s<>"]+/giu;
/** What ends a sentence or a bracket, not an address. */
const TAIL = /[.,;:!?'")\]}]+$/u;
const EMOJI = /^(?:\p{Extended_Pictographic}|\p{Emoji_Component}|\s){1,24}$/u;
const PICTURE = /\p{Extended_Pictographic}/u;

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const full = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "medium" });
const near = new Intl.DateTimeFormat(undefined, { weekday: "long", day: "numeric", month: "long" });
const far = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "long", year: "numeric" });

/**
 * @template {keyof HTMLElementTagNameMap} T
 * @param {T} tag
 * @param {string} [className]
 * @param {...(Node | string)} children
 */
export function element(tag, className = "", ...children) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.append(...children);
  return made;
}

/**
 * What the page surely has.
 *
 * @template {Element} [T=HTMLElement]
 * @param {string} selector
 * @param {ParentNode} [within]
 * @param {new () => T} [type]
 * @returns {T}
 */
export function find(selector, within = document, type) {
  const found = within.querySelector(selector);
  if (!(found instanceof (type ?? HTMLElement))) throw new Error(`The page lacks ${selector}.`);
  return /** @type {T} */ (found);
}

/** What somebody wrote, with its web addresses as links. @param {string} text */
export function linked(text) {
  const parts = document.createDocumentFragment();
  let done = 0;
  for (const match of text.matchAll(LINK)) {
    const address = match[0].replace(TAIL, "");
    if (!URL.canParse(address)) continue;
    const link = element("a", "", address);
    link.href = address;
    link.target = "_blank";
    link.rel = "noopener noreferrer";
    parts.append(text.slice(done, match.index), link);
    done = match.index + address.length;
  }
  parts.append(text.slice(done));
  return parts;
}

/** Whether it is nothing but a few emoji. @param {string} text */
export function onlyEmoji(text) {
  return EMOJI.test(text) && PICTURE.test(text) && graphemes(text).length <= 4;
}

/** A round sign for a person: the first letter, in a colour of their own.
 * @param {string} user @param {string} name */
export function avatar(user, name) {
  const sign = element("span", "avatar", (graphemes(name.trim())[0] ?? "?").toLocaleUpperCase());
  sign.ariaHidden = "true";
  let hash = 7;
  for (const character of user) hash = (hash * 31 + (character.codePointAt(0) ?? 0)) % 360;
  sign.style.setProperty("--hue", String(hash));
  return sign;
}

/** @param {number} ts ms since 1970 */
export function timeOfDay(ts) {
  const time = element("time", "", clock.format(ts));
  time.dateTime = new Date(ts).toISOString();
  time.title = full.format(ts);
  return time;
}

/** @param {number} ts @returns {string} the same for all moments of a day */
export function dayOf(ts) {
  return new Date(ts).toDateString();
}

/** @param {number} ts @returns {string} for people */
export function dayName(ts) {
  const day = dayOf(ts);
  const now = new Date();
  if (day === now.toDateString()) return "Today";
  now.setDate(now.getDate() - 1);
  if (day === now.toDateString()) return "Yesterday";
  return (Date.now() - ts < 300 * 86_400_000 ? near : far).format(ts);
}

/** Characters as people see them: a flag or a family is one. @param {string} text */
function graphemes(text) {
  if (!Intl.Segmenter) return Array.from(text);
  return Array.from(new Intl.Segmenter().segment(text), (one) => one.segment);
}
