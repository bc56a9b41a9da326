// Runs before every script of a page and after clock.js: tells what the screen holds, in document
// order, and where an element can be clicked. Nothing here changes the page, but `locate` scrolls.
(() => {
  "use strict";
  const NAME_LIMIT = 80;
  const TELLING_LENGTH = 24; // a longer name needs no row beside it
  const LABEL_WORDS = 4; // more words before a field are no label
  const IGNORED_IDS = new Set(["reward-display", "sync-task-cover", "click-canvas", "query"]);
  const FRAME_IDS = new Set(["wrap", "area"]);
  const IGNORED_TAGS = new Set(["script", "style", "noscript", "template", "head"]);
  const TEXT_TYPES = new Set(["text", "password", "search", "email", "number", "tel", "url"]);
  const TICK_TYPES = new Set(["checkbox", "radio"]);
  const ROLES = new Set(
    "button link tab menuitem menuitemcheckbox menuitemradio option checkbox radio switch treeitem".split(" ")
  );
  const CLICK_EVENTS = ["click", "mousedown", "mouseup"];
  const GENERIC_CLASSES = new Set(["icon", "hide", "bold", "btn", "button", "link"]);

  // Elements that scripts listen on, seen from the first script on.
  const listening = new WeakSet();
  const addEventListener = EventTarget.prototype.addEventListener;
  EventTarget.prototype.addEventListener = function (type, ...rest) {
    if (CLICK_EVENTS.includes(type)) listening.add(this);
    return addEventListener.call(this ?? window, type, ...rest);
  };

  const clean = (text) => (text || "").replace(/\s+/g, " ").trim();
  const short = (text) => clean(text).slice(0, NAME_LIMIT).trim();
  const tagOf = (element) => element.tagName.toLowerCase();
  const words = (identifier) => clean(identifier.replace(/[-_]+/g, " "));

  // One look at the page: caches computed styles, knows what is interactive.
  class Screen {
    constructor() {
      this.styles = new Map();
      this.handled = this.jqueryHandled();
      this.interactive = new Set();
      this.consumed = new Set(); // labels already told as the name of their field
    }

    style(element) {
      let style = this.styles.get(element);
      if (!style) this.styles.set(element, (style = getComputedStyle(element)));
      return style;
    }

    isSkipped(element) {
      return (
        IGNORED_TAGS.has(tagOf(element)) || IGNORED_IDS.has(element.id) || this.style(element).display === "none"
      );
    }

    isVisible(element) {
      const box = element.getBoundingClientRect();
      return box.width > 1 && box.height > 1 && this.style(element).visibility !== "hidden";
    }

    // Elements with a jQuery handler of their own, or matched by the selector of a delegated one.
    jqueryHandled() {
      const found = new Set();
      const read = window.jQuery && window.jQuery._data;
      if (!read) return found;
      for (const root of [document, ...document.querySelectorAll("body, body *")]) {
        const events = read.call(window.jQuery, root, "events");
        if (!events) continue;
        for (const handler of CLICK_EVENTS.flatMap((type) => events[type] || [])) {
          if (!handler.selector) found.add(root);
          else window.jQuery(root).find(handler.selector).each((_, element) => void found.add(element));
        }
        // jQuery's own listener on the root of a delegated handler is no click target.
        if (!found.has(root)) listening.delete(root);
      }
      return found;
    }

    isDisabled(element) {
      return element.disabled === true || Boolean(element.closest('[aria-disabled="true"], .ui-state-disabled'));
    }

    isInteractive(element) {
      if (element === document.body || FRAME_IDS.has(element.id)) return false;
      const tag = tagOf(element);
      if (tag === "option") return !element.closest("select");
      if (["button", "a", "input", "textarea", "select", "summary"].includes(tag)) return element.type !== "hidden";
      return (
        ROLES.has(element.getAttribute("role")) ||
        (element.isContentEditable && !element.parentElement.isContentEditable) ||
        Boolean(element.onclick || element.onmousedown) ||
        listening.has(element) ||
        this.handled.has(element)
      );
    }

    collect(element) {
      if (this.isSkipped(element)) return;
      if (this.isInteractive(element) && this.isVisible(element)) this.interactive.add(element);
      for (const child of element.children) this.collect(child);
    }

    // Visible text below `node`, without what stands in elements that `isOut` names.
    textOf(node, isOut) {
      if (node.nodeType === Node.TEXT_NODE) return node.data;
      if (node.nodeType !== Node.ELEMENT_NODE || this.isSkipped(node) || isOut(node)) return "";
      if (tagOf(node) === "select" || tagOf(node) === "textarea") return "";
      if (this.style(node).visibility === "hidden") return "";
      const gap = this.style(node).display.startsWith("inline") ? "" : " ";
      return gap + [...node.childNodes].map((child) => this.textOf(child, isOut)).join("") + gap;
    }

    ownText(element) {
      return clean(this.textOf(element, (other) => other !== element && this.interactive.has(other)));
    }

    // A container whose whole text belongs to the elements inside it offers nothing of its own.
    isOnlyContainer(element) {
      const inner = [...element.querySelectorAll("*")].some((other) => this.interactive.has(other));
      return inner && !this.ownText(element);
    }

    isIcon(element) {
      if (clean(element.textContent)) return false;
      if (["img", "svg", "i"].includes(tagOf(element))) return true;
      const style = this.style(element);
      return style.content.startsWith("url(") || style.backgroundImage.startsWith("url(");
    }

    iconName(element) {
      const image = element.querySelector("[alt], [title], [aria-label]");
      for (const source of image ? [element, image] : [element]) {
        for (const attribute of ["aria-label", "title", "alt"]) {
          const text = clean(source.getAttribute(attribute));
          if (text) return text;
        }
      }
      return this.className(element) || words(element.id || element.getAttribute("name") || "");
    }

    // "ui-icon ui-icon-disk" is "disk"; "star clicked" stays.
    className(element) {
      const classes = (element.getAttribute("class") || "").split(/\s+/).filter(Boolean);
      const general = (name) => classes.find((other) => name.startsWith(`${other}-`));
      const special = classes.filter(general).map((name) => name.slice(general(name).length));
      const telling = special.length ? special : classes.filter((name) => !GENERIC_CLASSES.has(name));
      return [...new Set(words(telling.join(" ")).split(" "))].join(" ");
    }

    // The text that labels a field; what it came from is not told again as text.
    label(element) {
      return this.labelText(element).replace(/\s*:$/, "");
    }

    labelText(element) {
      for (const label of element.labels || []) {
        const text = clean(this.textOf(label, () => false));
        if (text) return this.consume(label, text);
      }
      const ids = (element.getAttribute("aria-labelledby") || "").split(/\s+/).filter(Boolean);
      const named = clean(ids.map((id) => document.getElementById(id)?.textContent).join(" "));
      const given = named || clean(element.getAttribute("aria-label")) || clean(element.placeholder);
      return given || this.textBefore(element) || clean(element.title) || words(element.id || element.name || "");
    }

    textBefore(element) {
      for (const from of [element, element.parentElement]) {
        if (!from || FRAME_IDS.has(from.id) || from === document.body) break;
        for (let node = from.previousSibling; node; node = node.previousSibling) {
          if (node.nodeType === Node.COMMENT_NODE || IGNORED_IDS.has(node.id)) continue;
          if (this.interactive.has(node) || node.querySelector?.("input, select, textarea, button")) break;
          const text = clean(this.textOf(node, () => false));
          if (text.split(" ").length > LABEL_WORDS) return "";
          if (text) return this.consume(node, text);
        }
      }
      return "";
    }

    consume(node, text) {
      this.consumed.add(node);
      return text;
    }

    // Text of the row an element stands in: of the nearest ancestor that has any outside other
    // interactive elements; an icon may borrow theirs.
    context(element, { kind, name }) {
      if (name.length > TELLING_LENGTH) return "";
      for (const borrow of kind !== "click" || clean(element.textContent) ? [false] : [false, true]) {
        const isOut = (other) =>
          this.consumed.has(other) || (!borrow && this.interactive.has(other) && !other.contains(element));
        for (let up = element.parentElement; up && up !== document.body; up = up.parentElement) {
          if (FRAME_IDS.has(up.id)) break;
          const text = short(this.textOf(up, (other) => other === element || isOut(other)));
          if (text && text !== name) return text;
        }
      }
      return "";
    }

    icons(element) {
      return [...element.querySelectorAll("*")]
        .filter((inner) => this.isIcon(inner) && this.isVisible(inner) && !this.interactive.has(inner))
        .map((inner) => this.iconName(inner))
        .filter(Boolean)
        .map((name) => `${name} icon`)
        .join(" ");
    }

    // jQuery UI and ARIA put the role and the state on the element around the link.
    widget(element) {
      const around = element.parentElement;
      const role = element.getAttribute("role");
      const isWrapped = ROLES.has(around?.getAttribute("role")) && this.isOnlyContainer(around);
      return !ROLES.has(role) && isWrapped ? around : element;
    }

    role(element, widget) {
      const role = widget.getAttribute("role");
      const tag = tagOf(element);
      if (ROLES.has(role)) return role;
      if (tag === "input") return TEXT_TYPES.has(element.type) ? "textbox" : element.type;
      if (tag === "textarea" || element.isContentEditable) return "textbox";
      return { a: "link", select: "combobox" }[tag] || tag;
    }

    state(widget) {
      const expanded = widget.getAttribute("aria-expanded");
      if (expanded) return expanded === "true" ? "open" : "closed";
      if (widget.getAttribute("aria-selected") === "true") return "selected";
      return widget.getAttribute("aria-checked") === "true" ? "ticked" : "";
    }

    describe(element) {
      const widget = this.widget(element);
      const role = this.role(element, widget);
      const item = { element, role, kind: "click", state: this.state(widget), context: "" };
      const tag = tagOf(element);
      if (role === "textbox") {
        item.kind = "type";
        item.name = short(this.label(element));
        item.value = element.isContentEditable ? clean(element.innerText) : element.value;
        item.isReadonly = element.readOnly === true;
      } else if (tag === "select") {
        item.kind = "select";
        item.name = short(this.label(element));
        item.options = [...element.options].map((option) => clean(option.text));
        item.selected = [...element.selectedOptions].map((option) => clean(option.text));
        item.isMultiple = element.multiple;
      } else if (tag === "input") {
        const isTick = TICK_TYPES.has(element.type);
        item.name = short(isTick ? this.tickName(element) : element.value || this.iconName(element));
        if (isTick) item.isChecked = element.checked;
      } else {
        item.name = short(this.visibleName(element));
      }
      item.isFocused = document.activeElement === element;
      return item;
    }

    tickName(element) {
      const next = element.nextSibling;
      const text = element.labels?.length ? "" : clean(next && this.textOf(next, () => false));
      return text ? this.consume(next, text) : this.label(element);
    }

    visibleName(element) {
      const text = this.ownText(element);
      if (!(element instanceof SVGElement)) return text || this.iconName(element);
      return clean(`${element.getAttribute("fill") || ""} ${element.textContent}`) || this.iconName(element);
    }

    // Elements and lines of text in document order.
    items() {
      this.collect(document.body);
      for (const element of [...this.interactive]) {
        if (this.isOnlyContainer(element)) this.interactive.delete(element);
      }
      const described = new Map([...this.interactive].map((element) => [element, this.describe(element)]));
      for (const [element, item] of described) {
        item.isDisabled = this.isDisabled(element);
        item.context = short(`${this.icons(element)} ${this.context(element, item)}`);
      }
      const items = [];
      this.walk(document.body, described, items, null, false);
      return items.filter((item) => item.element || (item.text = clean(item.text)));
    }

    walk(node, described, items, block, isTold) {
      if (node.nodeType === Node.TEXT_NODE) {
        if (isTold || this.consumed.has(node) || !clean(node.data)) return;
        const last = items[items.length - 1];
        if (last && last.block === block) last.text += ` ${node.data}`;
        else items.push({ text: node.data, block });
        return;
      }
      if (node.nodeType !== Node.ELEMENT_NODE || this.isSkipped(node) || this.consumed.has(node)) {
        if (this.consumed.has(node)) this.walkElements(node, described, items);
        return;
      }
      const item = described.get(node);
      if (item) items.push(item);
      if (["select", "textarea", "svg"].includes(tagOf(node)) && item) return;
      const isShown = this.isVisible(node) || node.children.length > 0;
      const inner = this.style(node).display.startsWith("inline") ? block : node;
      for (const child of node.childNodes) {
        this.walk(child, described, items, inner, isTold || Boolean(item) || !isShown);
      }
    }

    // A label may hold its field.
    walkElements(label, described, items) {
      for (const inner of label.querySelectorAll?.("*") || []) {
        if (described.has(inner)) items.push(described.get(inner));
      }
    }
  }

  let elements = []; // those of the last look, in the order they were told

  const look = () => {
    const items = new Screen().items();
    elements = items.filter((item) => item.element && !item.isDisabled).map((item) => item.element);
    return items.map(({ element, block, ...rest }) => rest);
  };

  let mouse = { x: 0, y: 0 }; // where the mouse was sent last

  // Where something has come under the resting mouse, or gone from under it, the browser tells the
  // page at a time of its own choosing. The answer is where to send the mouse so that it is told now.
  const staleHover = () => {
    const hovered = [...document.querySelectorAll(":hover")].pop() || null;
    return hovered === document.elementFromPoint(mouse.x, mouse.y) ? null : mouse;
  };

  // A field that is disabled loses the keyboard, which the browser sees to at its next frame.
  const dropStaleFocus = () => {
    if (document.activeElement?.disabled) document.activeElement.blur();
  };

  const pointsOf = (element) => {
    const points = [];
    for (const box of [element.getBoundingClientRect(), ...element.getClientRects()]) {
      for (const [right, down] of [[0.5, 0.5], [0.25, 0.5], [0.75, 0.5], [0.1, 0.5], [0.5, 0.2], [0.5, 0.8]]) {
        points.push([box.left + right * box.width, box.top + down * box.height]);
      }
    }
    return points;
  };

  // A point where a click reaches the element itself and no other element of the last look; and the
  // place of the resting mouse where scrolling has put something else under it.
  const locate = (index) => {
    const element = elements[index];
    if (!element || !element.isConnected) return { error: "it has left the page" };
    element.scrollIntoView({ block: "center", inline: "center", behavior: "instant" });
    const stale = staleHover();
    const known = new Set(elements);
    let cover = null;
    for (const [x, y] of pointsOf(element)) {
      const hit = document.elementFromPoint(x, y);
      let up = hit;
      while (up && up !== element && !known.has(up)) up = up.parentElement;
      if (up === element || (hit && [...(element.labels || [])].some((label) => label.contains(hit)))) {
        mouse = { x, y };
        return { x, y, staleHover: stale };
      }
      cover = cover || hit;
    }
    const name = cover ? `${tagOf(cover)} "${cover.id || clean(cover.textContent).slice(0, 20)}"` : "nothing";
    return { error: `it cannot be reached: ${name} is in front of it` };
  };

  const selectText = (index) => {
    const element = elements[index];
    if (document.activeElement !== element || element.disabled) return false;
    if (element.select) element.select();
    else getSelection().selectAllChildren(element);
    return true;
  };

  // A native list of options is no part of the page: choose in it by script, with the two events.
  const choose = (index, text) => {
    const select = elements[index];
    const option = [...select.options].find((candidate) => clean(candidate.text) === text && !candidate.disabled);
    if (!option) return false;
    select.focus();
    option.selected = select.multiple ? !option.selected : true;
    for (const type of ["input", "change"]) select.dispatchEvent(new Event(type, { bubbles: true }));
    return true;
  };

  // The task in words; an icon stands in it by its name.
  const instruction = (root) => {
    const screen = new Screen();
    const read = (node) => {
      if (node.nodeType === Node.TEXT_NODE) return node.data;
      if (node.nodeType !== Node.ELEMENT_NODE) return "";
      if (screen.isIcon(node)) return ` ${screen.iconName(node)} `;
      return [...node.childNodes].map(read).join("");
    };
    return clean(read(root));
  };

  Object.defineProperty(window, "__screen", {
    value: { look, locate, selectText, choose, instruction, staleHover, dropStaleFocus },
  });
})();
