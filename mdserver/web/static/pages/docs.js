// Finds operations as one types, and opens the one that the address names. The page reads without it.
"use strict";

const input = document.getElementById("find");
const none = document.getElementById("none");
const operations = [...document.querySelectorAll(".operation")].map((element) => ({
  element,
  text: `${element.id} ${element.querySelector("summary").textContent}`.toLowerCase(),
}));

const open = () => {
  const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (target instanceof HTMLDetailsElement) target.open = true;
};

const find = () => {
  const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
  for (const { element, text } of operations) element.hidden = !words.every((word) => text.includes(word));
  for (const section of document.querySelectorAll(".noun")) {
    section.hidden = !section.querySelector(".operation:not([hidden])");
    document.querySelector(`[data-noun="${section.id}"]`).parentElement.hidden = section.hidden;
  }
  for (const section of document.querySelectorAll(".introduction, #types")) section.hidden = words.length > 0;
  none.hidden = operations.some(({ element }) => !element.hidden);
};

input.form.hidden = false;
input.form.addEventListener("submit", (event) => event.preventDefault());
input.addEventListener("input", find);
for (const { element } of operations) {
  element.addEventListener("toggle", () => {
    if (element.open && !input.value) history.replaceState(null, "", `#${element.id}`);
  });
}
addEventListener("hashchange", () => {
  if (input.value) {
    input.value = "";
    find();
    document.getElementById(decodeURIComponent(location.hash.slice(1)))?.scrollIntoView();
  }
  open();
});
open();
