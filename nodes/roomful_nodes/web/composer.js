/**
 * Where one writes: the text, whom it is for, and the signs of typing that others see.
 */

import { Emitter } from "./events.js";
import { find } from "./text.js";

/** @typedef {{user: string, name: string}} Aim */

const WHISPER = /^\/w(?:hisper)?\s+(?=\S)/iu;
/** While somebody types, others are told again this often (ms), and take silence for an end. */
export const TYPING_EVERY = 3000;

/** Events: `say` {text, aim}, where `aim` is null or who is whispered to; `typing` (a boolean). */
export class Composer extends Emitter {
  #form = find("#composer", document, HTMLFormElement);
  #text = find("#composer textarea", document, HTMLTextAreaElement);
  #aimed = find("#composer .aim");
  #hint = find("#composer .hint");
  /** @type {Aim | null} */ #aim = null;
  #typing = false;
  #toldAt = -Infinity;
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #idle;

  /** @param {() => Aim[]} others who can be whispered to */
  constructor(others) {
    super();
    this.others = others;
    this.#form.addEventListener("submit", (event) => (event.preventDefault(), this.#submit()));
    this.#text.addEventListener("input", () => this.#changed());
    this.#text.addEventListener("keydown", (event) => this.#key(event));
    find("button", this.#aimed).addEventListener("click", () => (this.aim(null), this.focus()));
  }

  focus() {
    this.#text.focus();
  }

  /** @param {Aim | null} person whom one whispers to from now on; null: speak to all */
  aim(person) {
    this.#aim = person;
    this.#form.classList.toggle("aiming", person !== null);
    this.#aimed.hidden = person === null;
    find("strong", this.#aimed).textContent = person?.name ?? "";
    this.#text.placeholder = person ? `Whisper to ${person.name}` : "Write a message";
    this.#tell(false);
    if (person) this.focus();
  }

  /** @param {string} words what is wrong; empty: nothing */
  hint(words) {
    this.#hint.hidden = !words;
    this.#hint.textContent = words;
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      this.#submit();
    } else if (event.key === "Escape" && this.#aim) {
      this.aim(null);
    }
  }

  #submit() {
    const text = this.#text.value.trim();
    if (!text) return;
    const said = this.#aim ? { text, aim: this.#aim } : this.#parsed(text);
    if (!said) return;
    this.#text.value = "";
    this.#changed();
    this.emit("say", said);
  }

  /** `/w Ann Lee hello` whispers "hello" to Ann Lee, if she is here. @param {string} text */
  #parsed(text) {
    const command = text.match(WHISPER);
    if (!command) return { text, aim: null };
    const rest = text.slice(command[0].length);
    const aim = this.#named(rest);
    const words = aim ? rest.slice(aim.name.length).trim() : "";
    if (aim && words) return { text: words, aim };
    const [first] = rest.split(/\s/u);
    this.hint(aim ? `What do you want to whisper to ${aim.name}?` : `Nobody called “${first}” is here.`);
    return null;
  }

  /** Who is named at the beginning of `text`; the longest name wins. @param {string} text */
  #named(text) {
    const spoken = text.toLowerCase();
    return this.others()
      .filter(({ name }) => `${spoken} `.startsWith(`${name.toLowerCase()} `))
      .sort((one, other) => other.name.length - one.name.length)
      .at(0);
  }

  #changed() {
    this.hint("");
    this.#text.style.height = "auto";
    this.#text.style.height = `${this.#text.scrollHeight}px`;
    const text = this.#text.value;
    // What is only for one person is not announced to all.
    this.#tell(text.trim() !== "" && !text.startsWith("/") && !this.#aim);
  }

  /** @param {boolean} typing */
  #tell(typing) {
    clearTimeout(this.#idle);
    if (typing) this.#idle = setTimeout(() => this.#tell(false), 2 * TYPING_EVERY);
    const again = typing && performance.now() - this.#toldAt > TYPING_EVERY;
    if (typing === this.#typing && !again) return;
    this.#typing = typing;
    this.#toldAt = typing ? performance.now() : -Infinity;
    this.emit("typing", typing);
  }
}
