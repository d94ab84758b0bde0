// One chart: lines or stacked bars over time, with a legend that tells the values and hides lines. Arrow keys read it.
import uPlot from "./uplot.js";
import {arrange, clock, make} from "./dom.js";

const HEIGHT_PX = 190;
const colour = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const lineColour = i => i < 8 ? colour(`--line-${i + 1}`) : `hsl(${i * 47 % 360} 45% ${matchMedia("(prefers-color-scheme: dark)").matches ? 68 : 38}%)`;

export class Chart {
  // lines: [{label, colour?, dash?}]; unit: behind each value; marks of `update`: [{at, colour}], drawn as upright lines
  constructor({title, lines, unit, digits = 1, isStacked = false, below = null}) {
    Object.assign(this, {title, lines, unit, digits, isStacked, marks: [], data: [[]], place: null});
    this.plotted = make("div", {class: "plot", tabindex: "0", role: "slider", "aria-label": title, "aria-valuemin": "0"});
    this.plotted.addEventListener("keydown", event => this.step(event));
    this.plotted.addEventListener("blur", () => this.point(null));
    this.legend = make("ul", {class: "legend"}, ...lines.map((line, i) => this.entry(line, i)));
    this.time = make("span", {class: "quiet small right"});
    this.element = make("article", {class: "card chart"}, make("div", {class: "top"}, make("h3", {}, title), this.time), this.plotted, this.legend, below);
    this.sight = new ResizeObserver(() => this.fit());
    this.sight.observe(this.plotted);
  }

  entry(line, i) {
    const button = make("button", {type: "button", "aria-pressed": "true"},
      make("span", {class: "swatch", "aria-hidden": "true"}), make("span", {}, line.label), line.shown = make("b", {}));
    button.addEventListener("click", () => {
      const isShown = button.getAttribute("aria-pressed") !== "true";
      button.setAttribute("aria-pressed", String(isShown));
      line.isHidden = !isShown;
      this.update(this.data, this.marks);
      if (this.plot) this.plot.setSeries(i + 1, {show: isShown});
    });
    line.swatch = button.firstChild;
    return make("li", {}, button);
  }

  update(data, marks = []) {   // data: [times, values of each line ...]
    this.data = data;
    this.marks = marks;
    const drawn = this.isStacked ? stack(data, this.lines) : data;
    if (this.plot) this.plot.setData(drawn);
    else if (this.plotted.clientWidth) this.draw(drawn);
    this.tell();
  }

  draw(drawn) {
    const quiet = colour("--quiet"), grid = {stroke: colour("--line"), width: 1}, font = "12px system-ui, sans-serif";
    const bars = uPlot.paths.bars({size: [0.9, 14, 2]});
    this.plot = new uPlot({
      width: this.plotted.clientWidth, height: HEIGHT_PX, legend: {show: false},
      cursor: {y: false, drag: {x: false, y: false}, points: {size: 6}},
      scales: {y: {range: (_, low, high) => [0, high > 0 ? high * 1.1 : 1]}},
      axes: [
        {stroke: quiet, grid, ticks: grid, font, space: 70, size: 34, values: (_, splits) => splits.map(at => new Date(at * 1000).toLocaleTimeString([], {hour: "2-digit", minute: "2-digit"}))},
        {stroke: quiet, grid, ticks: {show: false}, font, size: 52},
      ],
      series: [{}, ...this.lines.map((line, i) => ({
        stroke: this.colourOf(i), width: this.isStacked ? 0 : 1.6, dash: line.dash, spanGaps: false, show: !line.isHidden,
        ...(this.isStacked ? {fill: this.colourOf(i), paths: bars, points: {show: false}} : {points: {size: 4}}),
      }))],
      hooks: {draw: [plot => this.drawMarks(plot)], setCursor: [plot => this.point(plot.cursor.idx ?? null, true)]},
    }, drawn, this.plotted);
    this.lines.forEach((line, i) => { line.swatch.style.background = this.colourOf(i); });
  }

  colourOf(i) { return this.lines[i].colour ? colour(this.lines[i].colour) : lineColour(i); }

  drawMarks(plot) {
    const {ctx, bbox} = plot;
    ctx.save();
    ctx.lineWidth = 1.5 * devicePixelRatio;
    ctx.setLineDash([4 * devicePixelRatio, 3 * devicePixelRatio]);
    for (const mark of this.marks) {
      const x = plot.valToPos(mark.at, "x", true);
      if (x < bbox.left || x > bbox.left + bbox.width) continue;
      ctx.strokeStyle = colour(mark.colour);
      ctx.beginPath();
      ctx.moveTo(x, bbox.top);
      ctx.lineTo(x, bbox.top + bbox.height);
      ctx.stroke();
    }
    ctx.restore();
  }

  fit() {
    if (!this.plotted.clientWidth) return;
    if (this.plot) this.plot.setSize({width: this.plotted.clientWidth, height: HEIGHT_PX});
    else this.update(this.data, this.marks);
  }

  redraw() {   // in other colours
    if (this.plot) this.plot.destroy();
    this.plot = null;
    this.update(this.data, this.marks);
  }

  remove() {
    this.sight.disconnect();
    if (this.plot) this.plot.destroy();
    this.element.remove();
  }

  step(event) {
    const last = this.data[0].length - 1, from = this.place ?? last + 1;
    const to = {ArrowLeft: from - 1, ArrowRight: from + 1, PageUp: from - 12, PageDown: from + 12, Home: 0, End: last}[event.key];
    if (to === undefined || last < 0) return;
    event.preventDefault();
    this.point(Math.min(Math.max(to, 0), last));
    if (this.plot) this.plot.setCursor({left: this.plot.valToPos(this.data[0][this.place], "x"), top: 0}, false);
  }

  point(place, isMouse = false) {
    if (isMouse && document.activeElement === this.plotted && place === null) return;
    this.place = place;
    this.tell();
  }

  tell() {   // the values where the cursor is, else the newest ones
    const last = this.data[0].length - 1, place = this.place !== null && this.place <= last ? this.place : null;
    const told = this.lines.map((line, i) => {
      const values = this.data[i + 1] || [], value = place === null ? this.newest(values) : values[place];
      const words = value === null || value === undefined ? "–" : `${value.toFixed(this.digits)}${this.unit}`;
      arrange(line.shown, [words]);
      return `${line.label} ${words}`;
    });
    const when = place === null ? (this.isStacked ? "in all" : "now") : clock(this.data[0][place] * 1000);
    arrange(this.time, [when]);
    this.plotted.setAttribute("aria-valuemax", String(Math.max(last, 0)));
    this.plotted.setAttribute("aria-valuenow", String(place ?? Math.max(last, 0)));
    this.plotted.setAttribute("aria-valuetext", `${when}: ${told.join(", ") || "nothing"}`);
  }

  newest(values) {
    if (this.isStacked) return values.reduce((sum, value) => sum + (value || 0), 0);
    return values.slice(-3).reverse().find(value => value !== null);
  }
}

// Each line on top of those behind it, so that the tallest bar is drawn first; a hidden one takes no room.
function stack([times, ...values], lines) {
  const height = new Array(times.length).fill(0);
  const stacked = values.map((one, line) => ({one, line})).reverse().map(({one, line}) => one.map((value, i) =>
    lines[line].isHidden || !value ? null : height[i] += value));
  return [times, ...stacked.reverse()];
}
