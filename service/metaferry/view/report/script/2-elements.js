// Numbers as text, and elements. Names and values are hostile text: they enter by textContent alone.

const numbers = new Intl.NumberFormat('en');
const whole = (n) => numbers.format(Math.round(n));
const percent = (n, of) => {
  if (!of) return '–';
  const share = (100 * n) / of;
  if (share >= 99.95 && n < of) return '99.9 %'; // all is said of all alone
  return `${share.toFixed(share > 0 && share < 0.1 ? 2 : 1)} %`;
};
const about = (n) => (n < 1000 ? whole(n) : numbers.format(Number(n.toPrecision(3))));
const counted = (n, isAbout) => (isAbout ? `about ${about(n)}` : whole(n));
const sumOf = (values) => values.reduce((a, b) => a + b, 0);
const pad = (n) => String(n).padStart(2, '0');

// Making a format takes a hundred times as long as using it.
const formats = Array.from({ length: 13 }, (_, digits) => new Intl.NumberFormat('en', { maximumFractionDigits: digits }));

// A number to so many digits that values one `step` apart differ.
function plain(value, step = 0) {
  if (!Number.isFinite(value)) return '–';
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-4 || size >= 1e15)) return value.toExponential(3);
  const digits = step > 0 ? Math.ceil(-Math.log10(step) - 1e-9) : 3 - Math.floor(Math.log10(size || 1));
  return formats[Math.max(0, Math.min(12, digits))].format(value);
}

function moment(seconds, step) {
  const at = new Date(seconds * 1000);
  if (Number.isNaN(at.getTime())) return plain(seconds);
  const day = `${at.getUTCFullYear()}-${pad(at.getUTCMonth() + 1)}-${pad(at.getUTCDate())}`;
  if (step >= 86400) return day;
  const time = `${pad(at.getUTCHours())}:${pad(at.getUTCMinutes())}`;
  return `${day} ${time}${step < 60 ? `:${pad(at.getUTCSeconds())}` : ''}`;
}

const valueText = (dim, value) => (dim.kind === 'time' ? moment(value, dim.step) : plain(value, dim.integer ? 1 : dim.step / 10));

// Control characters and those that turn the direction of text are shown, not obeyed.
const clean = (text) =>
  String(text).replace(/[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]/g,
    (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`);

function fill(node, properties, children) {
  for (const [key, value] of Object.entries(properties || {})) {
    if (key.startsWith('on')) node.addEventListener(key.slice(2), value);
    else if (value !== undefined && value !== false) node.setAttribute(key, value === true ? '' : value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return node;
}
const el = (tag, properties, ...children) => fill(document.createElement(tag), properties, children);
const svg = (tag, properties, ...children) =>
  fill(document.createElementNS('http://www.w3.org/2000/svg', tag), properties, children);
const put = (node, ...children) => node.replaceChildren(...children.flat());

function table(columns, rows, caption) {
  const right = columns.map((_, i) => rows.some((row) => typeof row[i] === 'number') || undefined);
  const cell = (tag, value, i) =>
    el(tag, { class: right[i] && 'number', scope: tag === 'th' && 'col' },
      typeof value === 'number' ? (Number.isInteger(value) ? whole(value) : String(value)) : clean(value));
  return el('div', { class: 'scroll', tabindex: 0, role: 'region', 'aria-label': caption },
    el('table', {},
      el('thead', {}, el('tr', {}, columns.map((name, i) => cell('th', name, i)))),
      el('tbody', {}, rows.map((row) => el('tr', {}, row.map((value, i) => cell('td', value, i)))))));
}

// A table that is made when it is opened, and made anew when the filters change while it is open.
const openTables = new Set();
function tableBeside(name, make) {
  const details = el('details', { class: 'beside' }, el('summary', {}, 'Table', el('span', { class: 'unseen' }, ` of ${clean(name)}`)));
  const draw = () => put(details, details.firstChild, make());
  details.addEventListener('toggle', () => {
    if (details.open) { openTables.add(draw); draw(); } else { openTables.delete(draw); }
  });
  return details;
}
