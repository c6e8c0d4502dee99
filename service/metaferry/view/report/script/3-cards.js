// A card an entry, and coverage: histograms and bars, each with an update and a table beside it.

// -- charts; each gives its node and an update

function niceTicks(low, high, most) {
  const span = high - low;
  if (!(span > 0)) return [low];
  const power = 10 ** Math.floor(Math.log10(span / most));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => span / s <= most);
  const ticks = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++) ticks.push(Number((i * step).toPrecision(12)));
  return ticks;
}

const apart = (ticks) => (ticks.length > 1 ? Math.abs(ticks[1] - ticks[0]) : 0);

function histogram(page, dim) {
  const n = dim.slots;
  const [wholeBars, inBars, outBars] = ['whole', 'in', 'out'].map((name) => svg('path', { class: name }));
  const picture = svg('svg', { viewBox: `0 0 ${n} 100`, preserveAspectRatio: 'none', role: 'img', 'aria-label': summary(dim) },
    wholeBars, outBars, inBars);
  const slider = (label, value) => el('input', { type: 'range', min: 0, max: n, step: 1, value, 'aria-label': `${clean(dim.name)}, ${label}` });
  const [from, to] = [slider('from', 0), slider('to', n)];
  const axis = el('div', { class: 'axis', 'aria-hidden': true });
  const readout = el('p', { class: 'readout' });
  const missing = dim.missing ? el('button', { type: 'button', class: 'no-value' }) : null;
  const area = el('div', { class: 'area' }, picture);
  const node = el('div', { class: 'histogram' }, area, el('div', { class: 'range' }, from, to), axis, readout, missing);
  const most = Math.max(1, ...dim.counts.slice(0, n));
  let now = { values: dim.counts, isAbout: false };

  const [start, end] = [dim.low, dim.high];
  const place = (value) => (((dim.below ? 1 : 0) + (value - start) / dim.step) / n) * 100;
  const tick = (at, text, side) => {
    const mark = el('span', { class: side || (at < 6 && 'first') || (at > 94 && 'last') }, text);
    mark.style.left = `${side ? (side === 'first' ? 0 : 100) : at}%`;
    return mark;
  };
  if (dim.min === dim.max) put(axis, tick(50, valueText(dim, dim.min)));
  else if (dim.kind === 'time') put(axis, tick(0, valueText(dim, start), 'first'), tick(100, valueText(dim, end), 'last'));
  else {
    const shift = dim.integer && dim.step === 1 ? 0.5 : 0;
    const ticks = niceTicks(start, end, 5).filter((t) => !dim.integer || (Number.isInteger(t) && t + 2 * shift <= end));
    put(axis, ticks.map((t) => tick(Math.min(100, place(t + shift)), plain(t, apart(ticks)))));
  }

  const bar = (code, height) => (height > 0 ? `M${code + 0.06} 100V${100 - Math.max(height, 0.8)}H${code + 0.94}V100Z` : '');
  const bars = (values, keep) => {
    let d = '';
    for (let code = 0; code < n; code++) if (keep(code)) d += bar(code, (100 * values[code]) / most);
    return d;
  };
  wholeBars.setAttribute('d', bars(dim.counts, () => true));

  const select = (lo, hi) => {
    if (lo <= 0 && hi >= n) return page.filter(dim, null);
    const mask = new Uint8Array(dim.codes);
    for (let code = lo; code < hi; code++) mask[code] = 1;
    return page.filter(dim, mask);
  };
  const slid = (moved) => {
    if (Number(from.value) >= Number(to.value)) {
      if (moved === from) from.value = Number(to.value) - 1; else to.value = Number(from.value) + 1;
    }
    select(Number(from.value), Number(to.value));
  };
  from.addEventListener('input', () => slid(from));
  to.addEventListener('input', () => slid(to));

  const slotAt = (event) => {
    const box = area.getBoundingClientRect();
    return Math.max(0, Math.min(n - 1, Math.floor(((event.clientX - box.left) / box.width) * n)));
  };
  const say = (code) => {
    put(readout, `${codeText(dim, code)}: ${counted(now.values[code], now.isAbout)}${now.values[code] === dim.counts[code] ? '' : ` of ${whole(dim.counts[code])}`} · ${percent(dim.counts[code], page.data.head.documents)} of all`);
  };
  let anchor = null;
  area.addEventListener('pointerdown', (event) => {
    if (event.button !== 0) return;
    anchor = slotAt(event);
    area.setPointerCapture(event.pointerId);
    event.preventDefault();
  });
  area.addEventListener('pointermove', (event) => {
    const code = slotAt(event);
    say(code);
    if (anchor !== null && code !== anchor) select(Math.min(anchor, code), Math.max(anchor, code) + 1);
  });
  area.addEventListener('pointerup', (event) => {
    if (anchor === null) return;
    const code = slotAt(event);
    const mask = page.data.filters.get(dim.at);
    if (code === anchor) {
      const alone = mask && mask[code] && sumOf(mask) === 1;
      if (alone) page.filter(dim, null); else select(code, code + 1);
    }
    anchor = null;
  });
  area.addEventListener('pointercancel', () => { anchor = null; });
  area.addEventListener('pointerleave', () => put(readout));
  if (missing) missing.addEventListener('click', () => page.toggle(dim, dim.codes - 1));

  function update() {
    now = page.data.counts(dim);
    const mask = page.data.filters.get(dim.at);
    inBars.setAttribute('d', bars(now.values, (code) => !mask || mask[code]));
    outBars.setAttribute('d', mask ? bars(now.values, (code) => !mask[code]) : '');
    const chosen = mask ? [...mask.keys()].filter((code) => mask[code] && code < n) : [];
    from.value = chosen.length ? chosen[0] : 0;
    to.value = chosen.length ? chosen[chosen.length - 1] + 1 : n;
    from.setAttribute('aria-valuetext', codeText(dim, Math.min(n - 1, Number(from.value))));
    to.setAttribute('aria-valuetext', codeText(dim, Math.max(0, Number(to.value) - 1)));
    node.classList.toggle('filtered', Boolean(mask));
    if (missing) {
      const code = dim.codes - 1;
      put(missing, `no value: ${counted(now.values[code], now.isAbout)}`);
      missing.setAttribute('aria-pressed', String(Boolean(mask && mask[code])));
    }
  }
  return { node, update };
}

const barButton = (page, dim, code, ...children) =>
  el('button', { type: 'button', class: 'bar', title: codeText(dim, code), onclick: () => page.toggle(dim, code) }, children);

// What a bar says under the filters: its count, and whether it is chosen.
function show(button, count, value, isAbout, mask, code, text) {
  put(count, text === undefined ? (isAbout ? `~${about(value)}` : whole(value)) : text);
  button.setAttribute('aria-pressed', String(Boolean(mask && mask[code])));
  button.classList.toggle('dim', Boolean(mask && !mask[code]));
}

// Buttons in a column: the first ones, and the others on demand.
function column(kind, buttons, first) {
  const node = el('div', { class: kind }, buttons);
  const more = buttons.length > first + 1 ? buttons.slice(first) : [];
  if (!more.length) return node;
  const set = (open) => {
    more.forEach((button) => { button.hidden = !open; });
    toggle.setAttribute('aria-expanded', String(open));
    put(toggle, open ? 'fewer' : `${more.length} more`);
  };
  const toggle = el('button', { type: 'button', class: 'more', onclick: () => set(toggle.getAttribute('aria-expanded') !== 'true') });
  set(false);
  node.append(toggle);
  return node;
}

const used = (dim) => [...dim.counts.keys()].filter((code) => dim.counts[code] > 0);

function barList(page, dim, mark) {
  const most = Math.max(1, ...dim.counts);
  const rows = used(dim).map((code) => {
    const [inside, behind, count] = [el('span', { class: 'in' }), el('span', { class: 'whole' }), el('span', { class: 'count' })];
    behind.style.width = `${(100 * dim.counts[code]) / most}%`;
    const special = code >= dim.labels.length || dim.labels[code] === '';
    const label = el('span', { class: special ? 'label special' : 'label' }, mark ? mark(code) : null, el('bdi', {}, codeText(dim, code)));
    const button = barButton(page, dim, code, label, el('span', { class: 'track' }, behind, inside), count);
    return { code, button, inside, count };
  });
  function update() {
    const { values, isAbout } = page.data.counts(dim);
    const mask = page.data.filters.get(dim.at);
    for (const { code, button, inside, count } of rows) {
      inside.style.width = `${(100 * values[code]) / most}%`;
      show(button, count, values[code], isAbout, mask, code);
    }
  }
  return { node: column('bars', rows.map((row) => row.button), 7), update };
}

const TYPES = {
  NUMERIC_INT: 'integer', NUMERIC_FLOAT: 'number', CATEGORICAL_INT: 'category, integer', CATEGORICAL_STRING: 'category',
  CATEGORICAL_BOOLEAN: 'true or false', CATEGORICAL_DATETIME: 'date and time', CATEGORICAL_TIMESTAMP: 'timestamp', OTHER_STRING: 'text',
};

const distinctText = (dim) => `${dim.exact || dim.distinct < 1000 ? whole(dim.distinct) : `about ${about(dim.distinct)}`} different`;

function summary(dim) {
  if (!dim.isNumber) return `${clean(dim.name)}: ${distinctText(dim)} values`;
  return `Distribution of ${clean(dim.name)}: ${valueText(dim, dim.min)} to ${valueText(dim, dim.max)}, median ${valueText(dim, dim.quantiles[2])}`;
}

function figures(page, dim) {
  const facts = [];
  const fact = (name, value) => facts.push(el('div', {}, el('dt', {}, name), el('dd', {}, el('bdi', {}, value))));
  if (dim.isNumber) {
    fact('min', valueText(dim, dim.min));
    if (dim.kind === 'number') fact('5 %', valueText(dim, dim.quantiles[0]));
    fact('median', valueText(dim, dim.quantiles[2]));
    if (dim.kind === 'number') fact('95 %', valueText(dim, dim.quantiles[4]));
    fact('max', valueText(dim, dim.max));
  }
  const defaultText = dim.default === '' ? '(empty)' : clean(JSON.stringify(dim.default).replace(/^"|"$/g, ''));
  const line = el('p', { class: 'about-values' }, distinctText(dim));
  if (dim.type) {
    line.append(' · default ', el('bdi', { class: 'value' }, defaultText.slice(0, 40)));
    if (dim.defaults !== null) line.append(dim.defaults ? `, which ${percent(dim.defaults, dim.present)} have` : ', which none has');
  }
  return [facts.length ? el('dl', { class: 'figures' }, facts) : null, line];
}

function countsTable(page, dim) {
  return tableBeside(dim.name, () => {
    const { values, isAbout } = page.data.counts(dim);
    const filtered = page.data.filters.size > 0;
    const rows = used(dim).map((code) => [
      codeText(dim, code), dim.counts[code], percent(dim.counts[code], page.data.head.documents),
      ...(filtered ? [isAbout ? `about ${about(values[code])}` : values[code]] : []),
    ]);
    return table(['value', 'documents', 'share', ...(filtered ? ['under the filters'] : [])], rows, `Values of ${clean(dim.name)}`);
  });
}

function card(page, dim) {
  const chart = dim.isNumber ? histogram(page, dim) : barList(page, dim);
  page.charts.push(chart);
  return el('article', { class: 'card', 'data-entry': dim.path },
    el('header', {}, el('h3', {}, el('bdi', {}, clean(dim.name))), el('span', { class: 'type', title: dim.type }, TYPES[dim.type] || dim.type)),
    dim.path && dim.path !== dim.name ? el('p', { class: 'path' }, el('bdi', {}, clean(dim.path))) : null,
    chart.node, figures(page, dim), countsTable(page, dim));
}

// -- coverage

const STATES = {
  document: ['has metadata', 'a document with values of its own'],
  default: ['default only', 'a document that says nothing but defaults'],
  missing: ['missing', 'media without a document: the consumer shows defaults'],
  orphan: ['orphan', 'a document whose media is gone'],
  misnamed: ['misnamed', 'a frame under a wrong number of digits: nobody looks for it'],
  unread: ['not read', 'a document that no table speaks of'],
  invalid: ['invalid', 'a document that stops the consumer'],
};

function coverage(page) {
  const [type, state, folder] = page.data.dims;
  const keys = [...state.labels];
  state.labels = keys.map((key) => (STATES[key] ? STATES[key][0] : key));
  const mark = (code) => el('span', { class: `swatch state-${STATES[keys[code]] ? keys[code] : 'other'}` });
  const states = barList(page, state, mark);
  const types = barList(page, type);
  const rows = used(folder).map((code) => {
    const [stack, count] = [el('span', { class: 'track stack' }, keys.map((_, at) => mark(at))), el('span', { class: 'count' })];
    [...stack.children].forEach((piece) => piece.classList.remove('swatch'));
    const button = barButton(page, folder, code, el('span', { class: 'label' }, el('bdi', {}, codeText(folder, code))), stack, count);
    return { code, button, stack, count };
  });
  const node = column('bars folders', rows.map((row) => row.button), 12);
  const with_ = keys.indexOf('document');
  const update = () => {
    const { cells, isAbout } = page.data.cross(folder, state);
    const mask = page.data.filters.get(folder.at);
    for (const { code, button, stack, count } of rows) {
      const mine = cells.subarray(code * state.codes, (code + 1) * state.codes);
      const sum = sumOf(mine);
      [...stack.children].forEach((piece, at) => { piece.style.width = `${sum ? (100 * mine[at]) / sum : 0}%`; });
      const share = with_ < 0 ? '0.0 %' : percent(mine[with_], sum);
      show(button, count, sum, isAbout, mask, code, sum ? `${share} of ${isAbout ? `~${about(sum)}` : whole(sum)}` : '0');
    }
  };
  page.charts.push(states, types, { update });
  const folders = tableBeside('folders', () => {
    const { cells } = page.data.cross(folder, state, true);
    return table(['folder', ...state.labels], rows.map(({ code }) =>
      [codeText(folder, code), ...state.labels.map((_, at) => cells[code * state.codes + at])]), 'Documents by folder and state');
  });
  return section('coverage', 'Coverage',
    el('div', { class: 'coverage' },
      el('article', { class: 'card' }, el('header', {}, el('h3', {}, 'By state')), states.node,
        el('ul', { class: 'legend' }, keys.filter((key) => STATES[key]).map((key) => el('li', {}, el('b', {}, STATES[key][0]), `: ${STATES[key][1]}`))),
        countsTable(page, state)),
      el('article', { class: 'card' }, el('header', {}, el('h3', {}, 'By type')), types.node, countsTable(page, type)),
      el('article', { class: 'card wide' }, el('header', {}, el('h3', {}, 'By folder'), el('span', { class: 'type' }, 'share that has metadata')), node, folders)));
}
