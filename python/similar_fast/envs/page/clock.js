// Runs before every script of a page: time stands still until `__clock.tick` moves it, and chance is
// seeded. So the same page with the same actions always comes to the same screen.
(() => {
  "use strict";
  const START_MS = 1.7e12;
  const FRAME_MS = 16;
  const MAX_CALLBACKS = 20000;
  let now = START_MS;
  let nextId = 1;
  let timers = [];

  const RealDate = Date;
  window.Date = new Proxy(RealDate, {
    construct: (target, args, newTarget) =>
      Reflect.construct(target, args.length ? args : [now], newTarget === window.Date ? target : newTarget),
    apply: () => new RealDate(now).toString(),
    get: (target, key) => (key === "now" ? () => now : Reflect.get(target, key)),
  });
  performance.now = () => now - START_MS;

  const add = (callback, delay, args, every) => {
    const id = nextId++;
    timers.push({ id, due: now + delay, callback, args, every });
    return id;
  };
  const remove = (id) => {
    timers = timers.filter((timer) => timer.id !== id);
  };
  const milliseconds = (delay, least) => Math.max(Number(delay) || 0, least);
  window.setTimeout = (callback, delay, ...args) => add(callback, milliseconds(delay, 0), args, 0);
  window.setInterval = (callback, delay, ...args) =>
    add(callback, milliseconds(delay, 1), args, milliseconds(delay, 1));
  window.requestAnimationFrame = (callback) =>
    add(() => callback(now - START_MS), FRAME_MS - ((now - START_MS) % FRAME_MS), [], 0);
  window.clearTimeout = window.clearInterval = window.cancelAnimationFrame = remove;

  // mulberry32; a page that seeds Math.random itself replaces it.
  let state = 0x5eed;
  Math.random = () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };

  const takeNext = (end) => {
    let next = null;
    for (const timer of timers) {
      const isEarlier = next && (timer.due < next.due || (timer.due === next.due && timer.id < next.id));
      if (timer.due <= end && (!next || isEarlier)) next = timer;
    }
    if (!next) return null;
    now = Math.max(now, next.due);
    if (next.every) next.due = now + next.every;
    else remove(next.id);
    return next;
  };

  // CSS animations and transitions run on the real clock: bring each to its end at once.
  const finishAnimations = () => {
    for (const animation of document.getAnimations()) {
      try {
        animation.finish();
      } catch {
        animation.cancel(); // an endless one has no end to go to
      }
    }
  };

  const tick = async (ms) => {
    const end = now + ms;
    for (let count = 0; ; count++) {
      const timer = takeNext(end);
      if (!timer) break;
      if (count >= MAX_CALLBACKS) throw new Error(`more than ${MAX_CALLBACKS} timers in ${ms} ms`);
      try {
        if (typeof timer.callback === "function") timer.callback(...timer.args);
        else (0, eval)(timer.callback);
      } catch (error) {
        console.error(error); // as the browser does: one broken callback stops no other
      }
      await null; // promises settle between two timers, as in a real event loop
    }
    now = end;
    finishAnimations();
  };

  Object.defineProperty(window, "__clock", { value: { tick } });
})();
