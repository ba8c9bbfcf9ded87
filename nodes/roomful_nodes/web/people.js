/**
 * Who is here, and who is typing.
 */

import { TYPING_EVERY } from "./composer.js";
import { Emitter } from "./events.js";
import { avatar, element, find } from "./text.js";

/** @typedef {import("./roomful.js").Person} Person */

/** Event: `chosen` (a person that one wants to whisper to). */
export class People extends Emitter {
  #chat = find("#chat");
  #list = find("#people ul");
  #toggle = find("#people-toggle");

  /** @param {() => string | null} me */
  constructor(me) {
    super();
    this.me = me;
    this.#toggle.addEventListener("click", () => this.show(true));
    find("#shade").addEventListener("click", () => this.show(false));
    document.addEventListener("keydown", ({ key }) => key === "Escape" && this.show(false));
  }

  /** On a phone the list is a drawer. @param {boolean} shown */
  show(shown) {
    if (this.#chat.classList.contains("peopled") === shown) return;
    this.#chat.classList.toggle("peopled", shown);
    this.#toggle.ariaExpanded = String(shown);
    if (shown) find("button, .self", this.#list).focus();
    else this.#toggle.focus();
  }

  /** @param {Person[]} members one per connection @param {number} count of connections */
  update(members, count) {
    const people = new Map(members.map((member) => [member.user, member]));
    const me = people.get(this.me() ?? "");
    people.delete(this.me() ?? "");
    const others = [...people.values()].sort((one, other) => one.name.localeCompare(other.name));
    const rows = others.map((person) => this.#row(person));
    if (me) rows.unshift(element("li", "", this.#self(me)));
    const hidden = count - members.length;
    if (hidden > 0) rows.push(element("li", "more", `and ${hidden} more`));
    this.#list.replaceChildren(...rows);
    const here = String(others.length + (me ? 1 : 0) + Math.max(0, hidden));
    for (const number of document.querySelectorAll("#chat .number")) number.textContent = here;
  }

  /** @param {Person} person */
  #row(person) {
    const button = element("button", "", ...this.#signs(person));
    button.type = "button";
    button.title = `Whisper to ${person.name}`;
    button.addEventListener("click", () => (this.show(false), this.emit("chosen", person)));
    return element("li", "", button);
  }

  /** @param {Person} me */
  #self(me) {
    const self = element("div", "self", ...this.#signs(me), element("small", "", "you"));
    self.tabIndex = -1;
    return self;
  }

  /** @param {Person} person */
  #signs({ user, name }) {
    return [avatar(user, name), element("bdi", "who", name)];
  }
}

/** The line that says who is typing, for as long as they keep saying so. */
export class TypingLine {
  #line = find("#typing");
  /** @type {Map<string, {name: string, timer: ReturnType<typeof setTimeout>}>} */
  #typists = new Map();

  /** @param {Person} person @param {boolean} typing */
  set(person, typing) {
    clearTimeout(this.#typists.get(person.session)?.timer);
    this.#typists.delete(person.session);
    if (typing) {
      const timer = setTimeout(() => this.set(person, false), 2 * TYPING_EVERY);
      this.#typists.set(person.session, { name: person.name, timer });
    }
    this.#line.replaceChildren(...this.#words());
  }

  clear() {
    for (const { timer } of this.#typists.values()) clearTimeout(timer);
    this.#typists.clear();
    this.#line.replaceChildren();
  }

  #words() {
    const names = [...new Set([...this.#typists.values()].map(({ name }) => name))];
    const [first, second] = names.map((name) => element("bdi", "", name));
    if (names.length === 0) return [];
    if (names.length === 1) return [first, " is typing…"];
    if (names.length === 2) return [first, " and ", second, " are typing…"];
    return ["Several people are typing…"];
  }
}
