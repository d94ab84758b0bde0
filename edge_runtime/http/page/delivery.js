// What waits to be delivered, and the broker.
import {arrange, facts, make, number} from "./dom.js";

const element = make("div", {class: "grid", id: "delivery"});

function deliveryCard(name, box) {
  return make("article", {class: "card", key: name},
    make("div", {class: "top"}, make("b", {}, name)),
    make("div", {class: "big"}, number(box.pending), make("small", {}, " waiting")),
    facts([["accepted", number(box.enqueued)], ["delivered", number(box.delivered)], ["lost", number(box.dropped)]]),
    box.problem ? make("p", {class: "small warn"}, box.problem) : null);
}

function brokerCard(broker) {
  return make("article", {class: "card"},
    make("div", {class: "top"}, make("b", {}, "broker")),
    make("div", {class: `big ${broker.connected ? "good" : "bad"}`}, broker.connected ? "connected" : "away"),
    broker.problem ? make("p", {class: "small warn"}, broker.problem) : null);
}

const show = ({status}) => arrange(element,
  [...Object.entries(status.delivery || {}).map(([name, box]) => deliveryCard(name, box)), ...(status.broker ? [brokerCard(status.broker)] : [])]);

export const delivery = {id: "delivery", title: "Delivery", element, show};
