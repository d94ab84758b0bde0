// The newest events, as people read them.
import {arrange, clock, make} from "./dom.js";

const list = make("ol", {class: "events", id: "events"});
const MOST = 12;

function eventLine(event) {
  const data = event.data || {};
  const [headline, ...details] = event.text && event.text.length ? event.text : [event.event];
  const link = data.report ? make("span", {}, " ", make("a", {href: `reports/${data.report}`}, "report")) : null;
  return make("li", {key: `${event.at} ${event.event}`}, make("time", {datetime: event.at || ""}, event.at ? clock(event.at) : ""),
    make("div", {}, make("span", {}, headline), data.model ? make("span", {class: "quiet"}, ` · model ${data.model}`) : null, link,
      ...details.map(detail => make("div", {class: "quiet small"}, detail))));
}

function show({events}) {
  const newest = events.slice().sort((a, b) => a.at < b.at ? 1 : -1).slice(0, MOST).map(eventLine);
  arrange(list, newest.length ? newest : [make("li", {class: "quiet"}, "nothing to report")]);
}

export const events = {id: "events", title: "Events", element: make("div", {class: "card"}, list), show};
