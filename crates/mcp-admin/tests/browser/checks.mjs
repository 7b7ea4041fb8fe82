// What holds of the page at any moment.

import assert from "node:assert/strict";

/** Nothing is wider than the window, and no text than its place. */
export async function fits(page) {
  const [wide, window] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
  assert.ok(wide <= window, `the page is ${wide} px wide in a window of ${window} px`);
  const outside = await page.evaluate(() =>
    [...document.querySelectorAll("main :is(p, dd, dt, h3, h4, li, td, button, .brief span)")]
      .filter((element) => element.checkVisibility() && element.scrollWidth > element.clientWidth + 1)
      .map((element) => `${element.className || element.localName}: ${element.textContent}`),
  );
  assert.deepEqual(outside, [], `texts that are wider than their place in a window of ${window} px`);
}

/** Every visible text stands out from what is behind it, by WCAG's 4.5 to 1. */
export async function readable(page) {
  const [looked, faint] = await page.evaluate(() => {
    const colour = (text) => {
      const [r, g, b, a = 1] = text.match(/[\d.]+/g).map(Number);
      if (!text.startsWith("rgb")) throw new Error(`cannot read the colour ${text}`);
      return [r, g, b, a];
    };
    const over = ([r, g, b, a], below) => [r, g, b].map((value, at) => value * a + below[at] * (1 - a));
    const behind = (element) => {
      if (!element) return [255, 255, 255];
      const back = colour(getComputedStyle(element).backgroundColor);
      return back[3] === 1 ? back.slice(0, 3) : over(back, behind(element.parentElement));
    };
    const luminance = (rgb) => {
      const [r, g, b] = rgb.map((value) => {
        const share = value / 255;
        return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
      });
      return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const contrast = (text, back) => {
      const [light, dark] = [luminance(text), luminance(back)].sort((a, b) => b - a);
      return (light + 0.05) / (dark + 0.05);
    };
    let looked = 0;
    const faint = [];
    const look = (element, style, what, back = behind(element)) => {
      const ratio = contrast(over(colour(style.color), back), back);
      looked += 1;
      if (ratio < 4.5) faint.push(`${ratio.toFixed(2)} ${element.className || element.localName}: ${what}`);
    };
    for (const element of document.querySelectorAll("body *")) {
      if (!element.checkVisibility({ visibilityProperty: true }) || element.closest("svg, template")) continue;
      const own = [...element.childNodes].filter((node) => node.nodeType === Node.TEXT_NODE);
      const text = own.map((node) => node.data.trim()).join(" ").trim();
      if (text || element.matches("input, select")) look(element, getComputedStyle(element), text);
      if (element.matches("input")) look(element, getComputedStyle(element, "::placeholder"), "placeholder");
      for (let at = element; at; at = at.parentElement) {
        if (getComputedStyle(at).opacity !== "1") throw new Error("what is see-through is not reckoned with");
      }
      const before = getComputedStyle(element, "::before");
      if (/^"\s*[^"\s]/.test(before.content)) {
        look(element, before, before.content, over(colour(before.backgroundColor), behind(element)));
      }
    }
    return [looked, faint];
  });
  assert.ok(looked > 40, `only ${looked} texts were looked at`);
  assert.deepEqual(faint, []);
}
