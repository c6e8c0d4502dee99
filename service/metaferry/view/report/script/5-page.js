// Findings, tables of other panels, the header, the filters; and the start of it all.

// -- findings, panels, how it was made

const SIGNS = { error: '✕', warning: '!', info: 'i' };

function findings(page) {
  const groups = page.data.head.about.findings;
  if (!groups.length) return null;
  return section('findings', 'Findings', el('div', { class: 'card list' }, groups.map((group) =>
    el('details', { class: `finding ${group.severity}` },
      el('summary', {}, el('span', { class: 'sign', 'aria-hidden': true }, SIGNS[group.severity] || 'i'), el('span', { class: 'severity' }, group.severity),
        el('code', {}, clean(group.code)), el('span', { class: 'count' }, whole(group.count))),
      group.examples.length ? el('ul', {}, group.examples.map((example) => el('li', {},
        example.where ? el('bdi', { class: 'where' }, clean(example.where)) : null, el('bdi', {}, clean(example.message)),
        example.advice ? el('p', { class: 'advice' }, `→ ${clean(example.advice)}`) : null))) : el('p', {}, 'No examples were kept.'),
      group.count > group.examples.length && group.examples.length ? el('p', { class: 'note' }, `${group.examples.length} of ${whole(group.count)} are shown; findings.parquet of the run has all.`) : null))));
}

function panels(page) {
  return page.data.head.about.panels.map((panel, i) => section(`panel${i}`, panel.title,
    el('article', { class: 'card' }, table(panel.columns, panel.rows, `Table of ${clean(panel.title)}`), panel.note ? el('p', { class: 'note' }, clean(panel.note)) : null)));
}

// Pictures of media; those whose documents a filter leaves out are hidden, where the sample has them.
function pictures(page) {
  const { head } = page.data;
  if (!head.thumbnails.length && !head.about.not_pictured) return null;
  const shown = head.thumbnails.map((each, i) => {
    let text = '';
    for (const byte of page.data.part(`picture${i}`)) text += String.fromCharCode(byte);
    const node = el('figure', {}, el('img', { alt: '', src: `data:${each.mime};base64,${btoa(text)}` }),
      el('figcaption', {}, el('bdi', {}, clean(each.media))));
    return { node, place: each.place };
  });
  const note = el('p', { class: 'note' });
  page.charts.push({ update() {
    let left = 0;
    for (const { node, place } of shown) {
      node.hidden = place >= 0 && !page.data.passes(place);
      left += !node.hidden;
    }
    const failed = head.about.not_pictured;
    put(note, `${whole(left)} of ${whole(shown.length)} pictures${failed ? `; of ${whole(failed)} more media none could be made` : ''}.`);
  } });
  return section('pictures', 'Pictures', el('div', { class: 'card' }, el('div', { class: 'pictures' }, shown.map((each) => each.node)), note));
}

function made(page) {
  const { head } = page.data;
  const info = head.about;
  const error = head.sampled ? (98 / Math.sqrt(head.sampled)).toFixed(2) : '0';
  const facts = [
    ['Values', info.basis],
    ['Media', info.input], ['Metadata', info.lightly], ['Job', info.job], ['Run', info.run],
    ['Made', `${info.made}, by metaferry ${head.version}`],
    ['Exact', head.sampled === head.documents ? 'Every count, under any filters.'
      : `Counts of all documents, and of those under one filter${head.paired.length < head.dimensions.filter((dim) => dim.codes > 1).length ? ` (of the first ${head.paired.length} columns)` : ''}. Least and largest values.`],
    ['About', head.sampled === head.documents ? '' : `Counts under several filters, quantiles and medians: from ${whole(head.sampled)} documents, those with the smallest MD5 of "${head.seed}" and their name. A share is off by at most ${error} percentage points, 95 times of 100. Numbers of different values are estimates.`],
    ['Bins', 'Numbers: at most 40 equal bins that begin at round numbers; empty ones are kept. Where a few values lie far out, the bins cover the middle 99 %, and the ends say "below" and "above". Categories: the 39 commonest values, and other.'],
    ['Privacy', 'One file: it asks for nothing from any network, and holds no document but the counts and codes shown here.'],
  ];
  return section('made', 'How this was made', el('dl', { class: 'card made' }, facts.filter(([, value]) => value).map(([name, value]) => el('div', {}, el('dt', {}, name), el('dd', {}, el('bdi', {}, clean(value)))))));
}

function section(id, title, ...children) {
  return el('section', { id, 'aria-labelledby': `${id}-title` }, el('h2', { id: `${id}-title` }, clean(title)), ...children);
}

// -- the page

function tile(value, label, kind) {
  return el('div', { class: kind ? `tile tile-${kind}` : 'tile' }, el('dd', {}, value), el('dt', {}, label));
}

function header(page) {
  const { head, dims } = page.data;
  const info = head.about;
  const state = new Map(dims[1].labels.map((label, code) => [label, dims[1].counts[code]]));
  const n = head.documents;
  const found = info.findings.reduce((sum, group) => sum + (group.severity === 'info' ? 0 : group.count), 0);
  const tiles = [
    tile(whole(n), n === 1 ? 'document or media' : 'documents and media'),
    tile(percent(state.get('document') || 0, n), 'has metadata', 'good'),
    ...['default', 'missing', 'orphan', 'misnamed', 'unread', 'invalid'].filter((key) => state.get(key)).map((key) => tile(whole(state.get(key)), STATES[key][0], key)),
    tile(whole(dims.filter((dim) => dim.type).length), 'schema entries'),
    found ? tile(whole(found), found === 1 ? 'finding' : 'findings') : null,
  ];
  const theme = el('button', { type: 'button', id: 'theme', onclick: () => turn(document.documentElement.dataset.theme === 'dark' ? 'light' : 'dark') });
  const turn = (to) => {
    document.documentElement.dataset.theme = to;
    put(theme, to === 'dark' ? 'Light colours' : 'Dark colours');
  };
  turn(document.documentElement.dataset.theme);
  prefersDark.addEventListener('change', () => turn(prefersDark.matches ? 'dark' : 'light'));
  put(document.getElementById('top'),
    el('div', { class: 'headline' }, el('div', {}, el('p', { class: 'kicker' }, 'Lightly metadata'), el('h1', {}, el('bdi', {}, clean(info.title)))), theme),
    el('p', { class: 'subline' }, `Made ${info.made.replace('T', ' ').replace(/\+00:00$/, ' UTC')} · metaferry ${head.version}${info.run ? ` · run ${clean(info.run)}` : ''}`),
    el('dl', { class: 'tiles' }, tiles));
}

function filterBar(page, sections) {
  const [text, chips] = [el('p', { class: 'matching', role: 'status' }), el('div', { class: 'chips' })];
  const clear = el('button', { type: 'button', class: 'clear', onclick: () => page.clear() }, 'Clear filters');
  const nav = el('nav', { 'aria-label': 'Sections' }, sections.map((node) => el('a', { href: `#${node.id}` }, node.firstChild.textContent)));
  page.charts.push({ update() {
    const { filters, dims, head } = page.data;
    const { n, isAbout } = page.data.total();
    put(text, filters.size ? el('b', {}, counted(n, isAbout)) : el('b', {}, `All ${whole(n)}`),
      filters.size ? ` of ${whole(head.documents)} documents (${percent(n, head.documents)})` : ' documents');
    put(chips, [...filters].map(([at, mask]) => el('button', { type: 'button', class: 'chip', 'aria-label': `Remove the filter of ${clean(dims[at].name)}`, onclick: () => page.filter(dims[at], null) },
      el('bdi', {}, `${clean(dims[at].name)}: ${maskText(dims[at], mask)}`), el('span', { 'aria-hidden': true }, ' ×'))));
    clear.hidden = filters.size === 0;
    chips.hidden = filters.size === 0;
  } });
  return el('div', { class: 'filters', role: 'region', 'aria-label': 'Filters' }, el('div', {}, text, chips, clear), nav);
}

async function main() {
  const data = model(await unpack());
  const page = {
    data, charts: [], resized: [], waiting: false,
    filter(...changes) {
      for (let i = 0; i < changes.length; i += 2) {
        const [dim, mask] = [changes[i], changes[i + 1]];
        if (mask && !mask.every((on) => on) && mask.some((on) => on)) data.filters.set(dim.at, mask); else data.filters.delete(dim.at);
      }
      if (!page.waiting) { page.waiting = true; requestAnimationFrame(page.update); }
    },
    toggle(dim, code) {
      const mask = data.filters.get(dim.at)?.slice() || new Uint8Array(dim.codes);
      mask[code] = mask[code] ? 0 : 1;
      page.filter(dim, mask);
    },
    clear() { data.filters.clear(); page.filter(); },
    update() {
      const start = performance.now();
      page.waiting = false;
      data.sift();
      for (const chart of page.charts) chart.update();
      for (const draw of openTables) draw();
      document.documentElement.dataset.filterMs = (performance.now() - start).toFixed(1);
    },
  };
  header(page);
  const entries = data.dims.filter((dim) => dim.type);
  const chosen = choices(page);
  const sections = [
    coverage(page),
    entries.length ? section('entries', 'Entries', el('div', { class: 'cards' }, entries.map((dim) => card(page, dim)))) : null,
    scatter(page, chosen), map(page), videos(page, chosen), findings(page), ...panels(page), pictures(page), made(page),
  ].filter(Boolean);
  put(document.getElementById('main'), filterBar(page, sections), sections);
  page.update();
  let pending = 0;
  addEventListener('resize', () => { clearTimeout(pending); pending = setTimeout(() => page.resized.forEach((draw) => draw()), 80); });
  setTimeout(() => { document.documentElement.dataset.ready = performance.now().toFixed(0); });
}

main().catch((error) => {
  const old = typeof DecompressionStream === 'undefined';
  put(document.getElementById('main'), el('p', {}, old ? 'This page needs a browser of 2023 or later.' : `The page could not be drawn: ${error.message}`));
});
