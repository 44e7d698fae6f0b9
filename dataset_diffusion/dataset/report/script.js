"use strict";
(() => {
  const PAGE = 24;
  const data = JSON.parse(document.getElementById("data").textContent);
  const byId = new Map(data.samples.map((sample) => [sample.id, sample]));
  const element = (name, properties, ...children) => {
    const made = Object.assign(document.createElement(name), properties);
    made.append(...children);
    return made;
  };
  const round = (value) => String(Math.round(value * 1000) / 1000);

  const figure = (sample, detail) => element("figure", {},
    element("img", { src: sample.picture, alt: `${sample.id}: image, and image with its mask`, loading: "lazy" }),
    element("figcaption", {}, sample.caption, element("span", { className: "detail", textContent: detail })));
  const describe = (sample) => `${sample.id}: ` + [
    ...sample.classes.map((entry) => `${entry.name} ${(100 * entry.share).toFixed(1)}%`),
    ...Object.entries(sample.scores).map(([name, value]) => `${name} ${round(value)}`),
  ].join(", ");

  for (const strip of document.querySelectorAll(".strip")) {
    for (const id of JSON.parse(strip.dataset.ids)) {
      const sample = byId.get(id);
      const score = strip.dataset.score;
      strip.append(figure(sample, score ? `${id}: ${score} ${round(sample.scores[score])}` : id));
    }
  }

  const control = (id) => document.getElementById(id);
  const gallery = control("gallery");
  let page = 0;

  const chosen = () => {
    const name = control("class").value;
    const score = control("score").value;
    const bounds = [control("least").value, control("most").value];
    const [least, most] = bounds.map((text, index) => text === "" ? (index ? Infinity : -Infinity) : Number(text));
    const found = data.samples.filter((sample) => {
      const value = sample.scores[score];
      return sample.even
        && (!name || sample.classes.some((entry) => entry.name === name))
        && (value === undefined || (value >= least && value <= most));
    });
    const order = control("order").value;
    if (order) {
      const sign = order === "up" ? 1 : -1;
      found.sort((first, second) => sign * (first.scores[score] - second.scores[score]));
    }
    return found;
  };

  const show = () => {
    const found = chosen();
    const pages = Math.max(1, Math.ceil(found.length / PAGE));
    page = Math.min(page, pages - 1);
    gallery.replaceChildren(...found.slice(page * PAGE, (page + 1) * PAGE).map((sample) => figure(sample, describe(sample))));
    control("found").textContent = `${found.length} samples, page ${page + 1} of ${pages}`;
    control("back").disabled = page === 0;
    control("next").disabled = page === pages - 1;
  };

  for (const id of ["class", "score", "least", "most", "order"]) {
    control(id).addEventListener("input", () => { page = 0; show(); });
  }
  control("back").addEventListener("click", () => { page -= 1; show(); });
  control("next").addEventListener("click", () => { page += 1; show(); });
  show();
})();
