// Runs before every script of a MiniWoB++ page and after screen.js: starts an episode and lets the
// page come to rest. Both answers are JSON texts.
(() => {
  "use strict";
  const LOAD_MS = 200; // what the page's scripts put off until after they are loaded
  const READY_MS = 300;
  const MAX_READY_TRIES = 30;
  const SETTLE_MS = 600; // longer than the longest delay and animation that the tasks use
  const IMAGE_MS = 50;

  const loaded = (image) =>
    image.complete
      ? Promise.resolve()
      : new Promise((resolve) => {
          image.addEventListener("load", resolve, { once: true });
          image.addEventListener("error", resolve, { once: true });
        });

  // An image that is content has no size before it is loaded, so elements would come and go by luck.
  // Background images have no say in that; they come when they come.
  const contentImages = [];
  const preload = async () => {
    for (const sheet of document.styleSheets) {
      for (const rule of sheet.cssRules) {
        const [, url] = rule.style?.content.match(/url\("(.+?)"\)/) || [];
        if (!url) continue;
        const image = new Image();
        image.src = new URL(url, sheet.href || document.baseURI).href;
        contentImages.push(image);
      }
    }
    await Promise.all([...contentImages, ...document.images].map(loaded));
  };

  const report = () => {
    const query = document.getElementById("query");
    const utterance = core.getUtterance();
    return JSON.stringify({
      instruction: query && typeof utterance === "string" ? __screen.instruction(query) : utterance.utterance,
      items: __screen.look(),
      isDone: WOB_DONE_GLOBAL === true,
      rawReward: Number(WOB_RAW_REWARD_GLOBAL),
      staleHover: __screen.staleHover(),
    });
  };

  const start = async (seed) => {
    await __clock.tick(LOAD_MS);
    await preload();
    Math.seedrandom(seed);
    core.EPISODE_MAX_TIME = 1e9; // an episode ends by an action, never by the clock
    core.startEpisodeReal();
    for (let tries = 0; tries === 0 || !WOB_TASK_READY; tries++) {
      if (tries === MAX_READY_TRIES) throw new Error("the task did not become ready");
      await __clock.tick(READY_MS);
    }
    await Promise.all([...document.images].map(loaded));
    return report();
  };

  // Nothing but the place to send the mouse to, where that has to come before time goes on.
  const settle = async () => {
    const staleHover = __screen.staleHover();
    if (staleHover) return JSON.stringify({ staleHover });
    await __clock.tick(SETTLE_MS);
    const pending = [...document.images].filter((image) => !image.complete);
    if (pending.length) {
      await Promise.all(pending.map(loaded));
      await __clock.tick(IMAGE_MS);
    }
    __screen.dropStaleFocus();
    return report();
  };

  Object.defineProperty(window, "__episode", { value: { start, settle } });
})();
