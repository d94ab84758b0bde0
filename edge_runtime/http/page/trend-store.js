// Figures over time as the page knows them: what it has, and the newer steps that the daemon gives.

export class TrendStore {
  constructor(span) {
    this.span = span;   // seconds
    this.first = 0;     // number of the first step
    this.times = [];    // seconds since 1970, for each step
    this.figures = new Map();   // key -> {name, model, part, values[]}; null where there is no value
    this.marks = [];
  }

  get last() { return this.first + this.times.length - 1; }

  // The address of what is not known yet; the newest step may have been incomplete.
  get path() { return `trends?span_s=${this.span}&after=${this.times.length ? Math.max(0, this.last - 1) : 0}`; }

  take(answer) {
    const end = answer.first + answer.steps - 1;
    if (!this.times.length || end < this.last) Object.assign(this, {first: answer.first, times: [], figures: new Map()});
    const oldest = Math.ceil((answer.now_s - this.span - answer.offset_s) / answer.step_s);
    const first = Math.max(oldest, Math.min(this.first, answer.first)), count = Math.max(0, end - first + 1);
    const figures = new Map();
    for (const figure of [...this.figures.values(), ...answer.figures]) {
      const key = `${figure.name}/${figure.model}/${figure.part}`;
      const values = figures.has(key) ? figures.get(key).values : new Array(count).fill(null);
      const begin = answer.figures.includes(figure) ? answer.first : this.first;
      figure.values.forEach((value, i) => { if (begin + i >= first && begin + i <= end) values[begin + i - first] = value; });
      if (values.some(value => value !== null)) figures.set(key, {...figure, values});
    }
    this.first = first;
    this.times = Array.from({length: count}, (_, i) => answer.offset_s + (first + i) * answer.step_s);
    this.figures = figures;
    this.marks = answer.marks;
  }

  named(name) { return [...this.figures.values()].filter(figure => figure.name === name); }
}
