/**
 * All that runs in the browser: takes the live part of a page from the server as it changes. Only what has changed is
 * replaced, and the keyboard's place is kept, so that reading and tabbing are not disturbed.
 */
export const UI_SCRIPT = `'use strict';
const live = document.querySelector('[data-live]');
const said = document.getElementById('said');

function update(html) {
  const next = document.createElement('div');
  next.innerHTML = html;
  const focused = document.activeElement ? document.activeElement.id : '';
  const ids = (parent) => [...parent.children].map((part) => part.id).join(' ');
  if (ids(next) !== ids(live)) live.replaceChildren(...next.children);
  else
    for (const part of [...next.children]) {
      const shown = document.getElementById(part.id);
      if (shown.outerHTML !== part.outerHTML) shown.replaceWith(part);
    }
  if (focused && document.activeElement === document.body) document.getElementById(focused)?.focus();
}

function say(text) {
  if (said.textContent !== text) said.textContent = text;
}

let events;
function follow() {
  events = new EventSource(live.dataset.live);
  events.onmessage = (event) => {
    const message = JSON.parse(event.data);
    update(message.html);
    say(message.said);
  };
  events.onerror = () => say('The connection is lost. Trying again; softflow ui may have ended.');
}

// A browser keeps few connections to one place, and a page that nobody sees needs none.
if (live) {
  follow();
  document.addEventListener('visibilitychange', () => (document.hidden ? events.close() : follow()));
}
`;

/** A bar on a rising line. */
export const UI_ICON =
  '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><rect width="16" height="16" rx="3" fill="#2f6f73"/><path d="M3 12l3.5-4 3 2L13 4" fill="none" stroke="#fff" stroke-width="1.8"/></svg>';
