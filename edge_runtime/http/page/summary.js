// The head of the page: which device it is, and whether it may be relied on.
import {arrange, by, duration, make} from "./dom.js";

const reasons = make("ul", {id: "reasons", class: "reasons"});
by("lost").before(reasons);

export function showSummary({status, health}) {
  arrange(by("device"), [status.device || "edge-runtime"]);
  document.title = `${status.device || "edge-runtime"} · edge-runtime`;
  arrange(by("ready"), [!health.live ? "stuck" : status.safe_mode ? "safe mode" : health.ready ? "ready" : "not ready"]);
  by("ready").className = `pill ${!health.live ? "bad" : health.ready ? "good" : "warn"}`;
  arrange(by("uptime"), [status.uptime_s === undefined ? "" : `up ${duration(status.uptime_s)}`]);
  reasons.classList.toggle("warn", !health.ready);
  arrange(reasons, (health.reasons || []).map(reason => make("li", {}, reason)));
}
