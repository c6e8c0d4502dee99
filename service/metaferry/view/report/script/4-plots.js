// Two numbers against each other, the map, and values along a video.

// -- scatter

const COLOURS = 8;
// Marks around a point, as paths that begin there: circle, square, triangles, rhomb, cross, bars.
const MARKS = ((r) => [
  `m${-r} 0a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${-2 * r} 0Z`,
  `m${-r} ${-r}h${2 * r}v${2 * r}h${-2 * r}Z`,
  `m0 ${-1.2 * r}l${1.15 * r} ${2.2 * r}h${-2.3 * r}Z`,
  `m0 ${-1.4 * r}l${1.2 * r} ${1.4 * r}l${-1.2 * r} ${1.4 * r}l${-1.2 * r} ${-1.4 * r}Z`,
  `m${-1.2 * r} ${-0.4 * r}h${0.8 * r}v${-0.8 * r}h${0.8 * r}v${0.8 * r}h${0.8 * r}v${0.8 * r}h${-0.8 * r}v${0.8 * r}h${-0.8 * r}v${-0.8 * r}h${-0.8 * r}Z`,
  `m0 ${1.2 * r}l${1.15 * r} ${-2.2 * r}h${-2.3 * r}Z`,
  `m${-1.3 * r} ${-0.5 * r}h${2.6 * r}v${r}h${-2.6 * r}Z`,
  `m${-0.5 * r} ${-1.3 * r}h${r}v${2.6 * r}h${-r}Z`,
])(2.6);
const DOT = 'm-1.4 0a1.4 1.4 0 1 0 2.8 0a1.4 1.4 0 1 0 -2.8 0Z';
const marker = (i) => svg('svg', { class: `marker c${i}`, viewBox: '-4.5 -4.5 9 9', 'aria-hidden': true }, svg('path', { d: `M0 0${MARKS[i]}` }));

// How much of the spread of a number lies between the values of a category, 0 to 1.
function separation(page, dim, category) {
  const { cells } = page.data.cross(category, dim, true);
  let [n, sum, squares, between] = [0, 0, 0, 0];
  for (let i = 0; i < category.codes; i++) {
    let [mine, total] = [0, 0];
    for (let j = 0; j < dim.slots; j++) {
      const count = cells[i * dim.codes + j];
      mine += count; total += count * j; squares += count * j * j;
    }
    n += mine; sum += total;
    if (mine) between += (total * total) / mine;
  }
  const mean = n ? (sum * sum) / n : 0;
  return squares > mean ? (between - mean) / (squares - mean) : 0;
}

// How evenly values fill their bins: 0 for one bin, 1 for 40 alike.
function evenness(dim) {
  const counts = dim.counts.slice(0, dim.slots);
  const sum = sumOf(counts);
  return counts.reduce((all, n) => (n ? all - (n / sum) * Math.log(n / sum) : all), 0) / Math.log(40);
}

const last = (dim) => (dim.path || dim.name).split('.').pop().toLowerCase();
const isLat = (dim) => dim.isNumber && /^(gps_?)?lat(itude)?(_deg)?$/.test(last(dim)) && dim.min >= -90 && dim.max <= 90;
const isLon = (dim) => dim.isNumber && /^(gps_?)?(lon|lng|long)(gitude)?(_deg)?$|^longitude$/.test(last(dim)) && dim.min >= -180 && dim.max <= 360;

function choices(page) {
  const entries = page.data.dims.filter((dim) => dim.type && dim.codes > 1);
  const categories = entries.filter((dim) => !dim.isNumber && dim.labels.length > 1 && dim.labels.length <= 40 && dim.type !== 'OTHER_STRING');
  const rank = (dim) => (/scene/.test(last(dim)) ? 100 : 0) + (dim.labels.length >= 3 && dim.labels.length <= 12 ? 10 : 0) - dim.at / 100;
  categories.sort((a, b) => rank(b) - rank(a));
  const numeric = entries.filter((dim) => dim.kind === 'number' && dim.min < dim.max);
  const category = categories[0] || null;
  const worth = new Map(numeric.map((dim) => [dim, evenness(dim) * (0.3 + (category ? separation(page, dim, category) : 0)) *
    (dim.integer ? 0.8 : 1) - (isLat(dim) || isLon(dim) ? 10 : 0) - dim.at / 1000]));
  numeric.sort((a, b) => worth.get(b) - worth.get(a));
  return { categories, numeric, category };
}

const named = (dims) => dims.map((dim) => [String(dim.at), dim.name]);

function picker(label, options, chosen, onchange) {
  const select = el('select', { onchange: () => onchange(select.value) },
    options.map(([value, text]) => el('option', { value, selected: value === chosen || undefined }, clean(text))));
  return el('label', {}, `${label} `, select);
}

// Where a plot is in its node: `width` is that of the whole, in pixels.
const frameOf = (width, height, left = 52, below = 34) => ({ width, height, left, right: width - 12, top: 10, bottom: height - below });
const widthOf = (node) => Math.max(260, Math.floor(node.clientWidth || 600));

// A line across the plot and a text at each tick; `x` and `y` turn values into pixels, their ticks may be empty.
function grid(frame, [x, ticksX, textX], [y, ticksY, textY]) {
  const [label, line] = [(at, words) => svg('text', at, words), (at) => svg('line', at)];
  return svg('g', { class: 'grid' },
    ticksX.map((t) => line({ x1: x(t), x2: x(t), y1: frame.top, y2: frame.bottom })),
    ticksY.map((t) => line({ x1: frame.left, x2: frame.right, y1: y(t), y2: y(t) })),
    ticksX.map((t) => label({ x: x(t), y: frame.bottom + 16, 'text-anchor': 'middle' }, textX(t))),
    ticksY.map((t) => label({ x: frame.left - 6, y: y(t) + 4, 'text-anchor': 'end' }, textY(t))));
}

// The names of the axes.
function titles(frame, across, up) {
  const [middle, centre] = [(frame.left + frame.right) / 2, (frame.top + frame.bottom) / 2];
  return [
    across && svg('text', { class: 'title', x: middle, y: frame.height - 3, 'text-anchor': 'middle' }, across),
    up && svg('text', { class: 'title', transform: `translate(12 ${centre}) rotate(-90)`, 'text-anchor': 'middle' }, up),
  ].filter(Boolean);
}

const drawing = (frame, label, ...children) =>
  svg('svg', { viewBox: `0 0 ${frame.width} ${frame.height}`, role: 'img', 'aria-label': label }, ...children);
const paths = (number, kind) => Array.from({ length: number }, (_, i) => svg('path', { class: kind(i) }));

function rectangleDrag(node, onpick) {
  let start = null;
  const at = (event) => {
    const bounds = node.getBoundingClientRect();
    return [event.clientX - bounds.left, event.clientY - bounds.top];
  };
  node.addEventListener('pointerdown', (event) => {
    if (event.button !== 0) return;
    start = at(event);
    node.setPointerCapture(event.pointerId);
    event.preventDefault();
  });
  const drag = (event) => {
    if (!start) return;
    const [x, y] = at(event);
    if (Math.abs(x - start[0]) < 5 && Math.abs(y - start[1]) < 5) return;
    onpick(Math.min(x, start[0]), Math.max(x, start[0]), Math.min(y, start[1]), Math.max(y, start[1]));
  };
  node.addEventListener('pointermove', drag);
  node.addEventListener('pointerup', (event) => {
    const [x, y] = at(event);
    if (start && Math.abs(x - start[0]) < 5 && Math.abs(y - start[1]) < 5) onpick(null);
    start = null;
  });
  node.addEventListener('pointercancel', () => { start = null; });
}

// The codes of the bins that lie in a range of values.
function rangeMask(dim, from, to) {
  const mask = new Uint8Array(dim.codes);
  const first = dim.below ? 1 : 0;
  const bin = (value) => Math.max(0, Math.min(dim.bins - 1, Math.floor((value - dim.low) / dim.step)));
  for (let i = bin(from); i <= bin(to); i++) mask[first + i] = 1;
  return mask;
}

function scatter(page, chosen) {
  const { categories, numeric, category } = chosen;
  if (numeric.length < 2) return null;
  const { dims, head } = page.data;
  let [x, y, colour] = [numeric[0], numeric[1], category];
  const [plot, legend, controls, note] = [el('div', { class: 'plot' }), el('div', { class: 'legend-list' }), el('div', { class: 'controls' }), el('p', { class: 'note' })];
  const byName = named([...numeric].sort((a, b) => a.at - b.at));
  const colours = [['', 'none'], ...named(categories)];
  const [behind, marks] = [svg('path', { class: 'behind' }), paths(COLOURS, (i) => `mark c${i}`)];
  let points = []; // [row, pixels, slot] of each document that is drawn
  let scales = [];
  let rows = []; // of the legend

  const scale = (dim, from, to) => {
    const { low, high } = dim;
    return { low, high, to: (v) => from + ((v - low) / (high - low)) * (to - from), back: (p) => low + ((p - from) / (to - from)) * (high - low) };
  };
  // The value of a row of the sample; null where it is outside of the bins or missing.
  const value = (dim, r) => {
    const code = dim.column[r] - (dim.below ? 1 : 0);
    if (code < 0 || code >= dim.bins) return null;
    // Integers are spread within their bin: many share one place.
    const part = dim.integer && dim.step === 1 ? 0.5 + ((Math.imul(r + 7 * dim.at, 2654435761) >>> 0) / 2 ** 32 - 0.5) * 0.7 : (dim.fine[r] + 0.5) / 256;
    return dim.low + (code + part) * dim.step;
  };

  function redraw() {
    put(controls,
      picker('Across', byName, String(x.at), (value) => { x = dims[value]; redraw(); }),
      picker('Up', byName, String(y.at), (value) => { y = dims[value]; redraw(); }),
      picker('Colour and shape', colours, colour ? String(colour.at) : '', (value) => { colour = value ? dims[value] : null; redraw(); }));
    const frame = frameOf(widthOf(plot), 400);
    const [sx, sy] = scales = [scale(x, frame.left, frame.right), scale(y, frame.bottom, frame.top)];
    const ranked = colour ? [...colour.counts.keys()].sort((a, b) => colour.counts[b] - colour.counts[a]) : [];
    const slotOf = new Map(ranked.map((code, i) => [code, Math.min(i, COLOURS - 1)]));
    points = [];
    for (let r = 0; r < head.points; r++) {
      const [vx, vy] = [value(x, r), value(y, r)];
      if (vx !== null && vy !== null) points.push([r, `M${sx.to(vx).toFixed(1)} ${sy.to(vy).toFixed(1)}`, colour ? slotOf.get(colour.column[r]) : 0]);
    }
    const [ticksX, ticksY] = [niceTicks(sx.low, sx.high, Math.max(3, frame.width / 90)), niceTicks(sy.low, sy.high, 6)];
    put(plot, drawing(frame, `${clean(y.name)} against ${clean(x.name)}${colour ? `, by ${clean(colour.name)}` : ''}`,
      grid(frame, [sx.to, ticksX, (t) => plain(t, apart(ticksX))], [sy.to, ticksY, (t) => plain(t, apart(ticksY))]),
      behind, marks, titles(frame, clean(x.name), clean(y.name))));
    rows = ranked.filter((code) => colour.counts[code] > 0).slice(0, COLOURS + 4).map((code) => {
      const count = el('span', { class: 'count' });
      const button = barButton(page, colour, code, marker(slotOf.get(code)), el('bdi', { class: 'label' }, codeText(colour, code)), count);
      return { code, button, count };
    });
    put(legend, rows.map((row) => row.button));
    const outside = head.points - points.length;
    put(note, `${whole(head.points)} documents, drawn by the hash of their names${outside ? `; ${whole(outside)} of them lie outside or have no value` : ''}. Drag to filter, click to clear.`);
    update();
  }
  function update() {
    const drawn = Array.from({ length: COLOURS }, () => []);
    const rest = [];
    for (const [r, at, slot] of points) {
      if (page.data.passes(r)) drawn[slot].push(at, MARKS[slot]); else rest.push(at, DOT);
    }
    behind.setAttribute('d', rest.join(''));
    marks.forEach((path, slot) => path.setAttribute('d', drawn[slot].join('')));
    if (!colour) return;
    const { values, isAbout } = page.data.counts(colour);
    const mask = page.data.filters.get(colour.at);
    for (const { code, button, count } of rows) show(button, count, values[code], isAbout, mask, code);
  }
  rectangleDrag(plot, (x1, x2, y1, y2) => {
    if (x1 === null) return page.filter(x, null, y, null);
    const [sx, sy] = scales;
    return page.filter(x, rangeMask(x, sx.back(x1), sx.back(x2)), y, rangeMask(y, sy.back(y2), sy.back(y1)));
  });
  page.charts.push({ update });
  page.resized.push(redraw);
  const beside = tableBeside('the scatter plot', () => {
    if (!colour) return table([x.name, 'documents'], x.counts.map((n, code) => [codeText(x, code), n]), 'Documents by value');
    return table([clean(colour.name), 'documents', `median of ${clean(x.name)}`, `median of ${clean(y.name)}`],
      rows.map(({ code }) => [codeText(colour, code), colour.counts[code], ...[x, y].map((dim) => medianOf(page, dim, colour, code))]), 'Medians by category');
  });
  setTimeout(redraw);
  return section('scatter', 'Two numbers', el('article', { class: 'card' }, controls, el('div', { class: 'sides' }, plot, legend), note, beside));
}

function medianOf(page, dim, category, code) {
  const { cells } = page.data.cross(category, dim);
  const mine = [...cells.slice(code * dim.codes, code * dim.codes + dim.slots)];
  const half = sumOf(mine) / 2;
  let sum = 0;
  const at = mine.findIndex((n) => { sum += n; return sum >= half && half > 0; });
  return at < 0 ? '–' : codeText(dim, at);
}

// -- map

function map(page) {
  const lat = page.data.dims.find(isLat);
  const lon = page.data.dims.find(isLon);
  if (!lat || !lon || lat.bins < 2 || lon.bins < 2) return null;
  const [plot, legend, note] = [el('div', { class: 'plot' }), el('div', { class: 'legend-list' }), el('p', { class: 'note' })];
  const sides = el('div', { class: 'sides map' }, plot, legend);
  const [south, north, west, east] = [lat.low, lat.high, lon.low, lon.high];
  const [behind, levels] = [svg('path', { class: 'behind cell' }), paths(5, (i) => `level l${i}`)];
  const everything = page.data.cross(lat, lon, true);
  let [frame, across, up] = [null, 1, 1]; // bins that a cell takes together
  let [inside, most] = [0, 1];

  const px = (v) => frame.left + ((v - west) / (east - west)) * (frame.right - frame.left);
  const py = (v) => frame.top + ((north - v) / (north - south)) * (frame.bottom - frame.top);
  const cellsOf = ({ cells }) => {
    const found = new Map();
    for (let i = 0; i < lat.bins; i++) {
      for (let j = 0; j < lon.bins; j++) {
        const n = cells[((lat.below ? 1 : 0) + i) * lon.codes + (lon.below ? 1 : 0) + j];
        const key = Math.floor(i / up) * 100 + Math.floor(j / across);
        if (n) found.set(key, (found.get(key) || 0) + n);
      }
    }
    return found;
  };
  const depth = (n) => Math.log1p(n) / Math.log1p(most);
  const cell = (key, n) => { // the larger, the more documents
    const [i, j, share] = [Math.floor(key / 100), key % 100, 0.35 + 0.6 * depth(n)];
    const [width, height] = [across * (px(west + lon.step) - px(west)), up * (py(south) - py(south + lat.step))];
    const [x, y, a, b] = [frame.left + (j + 0.5) * width, frame.bottom - (i + 0.5) * height, width * share, height * share].map((n) => Number(n.toFixed(1)));
    return `M${x - a / 2} ${y - b / 2}h${a}v${b}h${-a}Z`;
  };

  function redraw() {
    const stretch = Math.max(0.2, Math.cos(((south + north) / 2 / 180) * Math.PI));
    const room = sides.clientWidth || 600;
    const free = Math.max(260, room > 700 ? room - 270 : room) - 90;
    let [w, h] = [free, (free * (north - south)) / ((east - west) * stretch)];
    if (h > 440) [w, h] = [(w * 440) / h, 440];
    h = Math.max(h, 120);
    frame = { width: w + 90, height: h + 30, left: 66, right: 66 + w, top: 8, bottom: 8 + h };
    plot.style.width = `${frame.width}px`;
    // Bins are taken together until a cell is about as high as it is broad.
    const broad = h / lat.bins / (w / lon.bins);
    [across, up] = [Math.max(1, Math.round(broad)), Math.max(1, Math.round(1 / broad))];
    const all = cellsOf(everything);
    [inside, most] = [sumOf([...all.values()]), Math.max(1, ...all.values())];
    behind.setAttribute('d', [...all].map(([key, n]) => cell(key, n)).join(''));
    const degrees = (ticks, plus, minus) => (v) => `${plain(Math.abs(v), apart(ticks))}° ${v < 0 ? minus : plus}`;
    const [ticksX, ticksY] = [niceTicks(west, east, Math.max(2, w / 90)), niceTicks(south, north, Math.max(2, h / 60))];
    put(plot, drawing(frame, `Map of ${clean(lat.name)} and ${clean(lon.name)}`,
      grid(frame, [px, ticksX, degrees(ticksX, 'E', 'W')], [py, ticksY, degrees(ticksY, 'N', 'S')]), behind, levels));
    const from = (level) => Math.max(1, Math.ceil(Math.expm1((level / 5) * Math.log1p(most))));
    put(legend, el('p', {}, 'Documents in a cell'), [0, 1, 2, 3, 4].filter((level) => level === 0 || from(level) > from(level - 1)).map((level) =>
      el('span', { class: 'key' }, svg('svg', { class: `marker l${level}`, viewBox: '0 0 12 12', 'aria-hidden': true },
        svg('rect', { x: 4 - level, y: 4 - level, width: 4 + 2 * level, height: 4 + 2 * level })), `from ${about(from(level))}`)));
    update();
  }
  function update() {
    if (!frame) return;
    const now = page.data.filters.size ? page.data.cross(lat, lon) : everything;
    const filtered = cellsOf(now);
    const drawn = levels.map(() => []);
    for (const [key, n] of filtered) drawn[Math.min(4, Math.floor(depth(n) * 5))].push(cell(key, n));
    levels.forEach((path, i) => path.setAttribute('d', drawn[i].join('')));
    const outside = page.data.head.documents - inside;
    put(note, `${counted(sumOf([...filtered.values()]), now.isAbout)} documents are on the map`,
      outside > 0 ? `; ${counted(outside, everything.isAbout)} lie outside or have no place` : '',
      `. A cell is ${plain(up * lat.step)}° by ${plain(across * lon.step)}°. Drag to filter, click to clear.`);
  }
  rectangleDrag(plot, (x1, x2, y1, y2) => {
    if (x1 === null) return page.filter(lat, null, lon, null);
    const lonAt = (p) => west + ((p - frame.left) / (frame.right - frame.left)) * (east - west);
    const latAt = (p) => north - ((p - frame.top) / (frame.bottom - frame.top)) * (north - south);
    return page.filter(lat, rangeMask(lat, latAt(y2), latAt(y1)), lon, rangeMask(lon, lonAt(x1), lonAt(x2)));
  });
  page.charts.push({ update });
  page.resized.push(redraw);
  setTimeout(redraw);
  const beside = tableBeside('the map', () => {
    const { cells, isAbout } = page.data.cross(lat, lon);
    const list = [];
    for (let i = 0; i < lat.slots; i++) {
      for (let j = 0; j < lon.slots; j++) {
        const n = cells[i * lon.codes + j];
        if (n) list.push([codeText(lat, i), codeText(lon, j), Math.round(n)]);
      }
    }
    list.sort((a, b) => b[2] - a[2]);
    return table([clean(lat.name), clean(lon.name), isAbout ? 'documents (about)' : 'documents'], list.slice(0, 200), 'The 200 fullest cells');
  });
  return section('map', 'Map', el('article', { class: 'card' }, sides, note, beside));
}

// -- along a video

function videos(page, chosen) {
  const { head, dims } = page.data;
  const shown = head.along.map((at) => dims[at]);
  const numeric = shown.filter((dim) => dim.kind === 'number');
  if (!head.videos.length || !shown.length) return null;
  const bytes = page.data.part('along');
  const series = [];
  let at = 0;
  for (const video of head.videos) {
    const mine = new Map();
    for (const dim of shown) {
      const lines = dim.isNumber ? 3 : 1;
      mine.set(dim, Array.from({ length: lines }, (_, i) => bytes.subarray(at + i * video.steps, at + (i + 1) * video.steps)));
      at += lines * video.steps;
    }
    series.push(mine);
  }
  // The number and the category that change most within the first video.
  const changes = (dim) => {
    const line = series[0].get(dim)[dim.isNumber ? 1 : 0];
    let moved = 0;
    for (let i = 1; i < line.length; i++) if (line[i] !== 255 && line[i - 1] !== 255) moved += dim.isNumber ? Math.abs(line[i] - line[i - 1]) : line[i] !== line[i - 1];
    return moved;
  };
  const wanted = chosen.numeric.find((dim) => numeric.includes(dim) && changes(dim) > 0);
  let [video, dim] = [0, wanted || numeric[0] || null];
  const strips = shown.filter((each) => !each.isNumber && each.labels.length > 1);
  let strip = strips.includes(chosen.category) ? chosen.category : strips[0] || null;
  const [plot, controls, legend, note] = [el('div', { class: 'plot' }), el('div', { class: 'controls' }), el('div', { class: 'legend-list row' }), el('p', { class: 'note' })];
  function redraw() {
    put(controls,
      picker('Video', head.videos.map((each, i) => [String(i), each.media]), String(video), (value) => { video = Number(value); redraw(); }),
      dim ? picker('Number', named(numeric), String(dim.at), (value) => { dim = dims[value]; redraw(); }) : '',
      strip ? picker('Category', named(strips), String(strip.at), (value) => { strip = dims[value]; redraw(); }) : '');
    const info = head.videos[video];
    const frame = frameOf(widthOf(plot), dim ? 260 : 90);
    const band = strip ? 16 : 0;
    const bottom = frame.bottom - band - (band ? 6 : 0);
    const x = (step) => frame.left + (step / info.steps) * (frame.right - frame.left);
    const ticksX = niceTicks(0, info.last, Math.max(3, frame.width / 110)).filter(Number.isInteger);
    const axisX = [(t) => x(t / info.per_step), ticksX, whole];
    const label = `${clean(dim ? dim.name : strip.name)} along ${clean(info.media)}`;
    const lines = dim ? numberLine(dim, series[video].get(dim), x, frame.top, bottom) : { ticks: [], y: null, drawn: [] };
    const axisY = [lines.y, lines.ticks, (t) => plain(t, apart(lines.ticks))];
    const categories = strip ? categoryStrip(strip, series[video].get(strip)[0], x, frame.bottom, band) : { drawn: [], keys: [] };
    put(legend, categories.keys);
    put(plot, drawing(frame, label, grid(frame, axisX, axisY), lines.drawn, categories.drawn, titles(frame, 'frame', dim && clean(dim.name))));
    put(note, `${whole(info.frames)} frames${info.per_step > 1 ? `, ${info.per_step} a step: the line is their mean, the band is from the least to the largest` : ''}. Filters do not apply here.`);
  }
  page.resized.push(redraw);
  const beside = tableBeside('the video', () => {
    const info = head.videos[video];
    const rows = [];
    for (let i = 0; i < info.steps; i++) {
      const frames = info.per_step > 1 ? `${i * info.per_step} to ${Math.min(info.last, (i + 1) * info.per_step - 1)}` : String(i);
      const numbersHere = dim ? series[video].get(dim).map((line) => (line[i] === 255 ? '–' : plain(ofByte(dim, line[i])))) : [];
      rows.push([frames, ...numbersHere, ...(strip ? [series[video].get(strip)[0][i] === 255 ? '–' : codeText(strip, series[video].get(strip)[0][i])] : [])]);
    }
    return table(['frames', ...(dim ? ['least', 'mean', 'largest'] : []), ...(strip ? [clean(strip.name)] : [])], rows, 'Values along the video');
  });
  setTimeout(redraw);
  return section('videos', 'Along a video', el('article', { class: 'card' }, controls, plot, legend, note, beside));
}

const ofByte = (dim, byte) => dim.min + (byte / 254) * (dim.max - dim.min);

// The mean of each step as a line, and the band from the least to the largest value; 255 is no value.
function numberLine(dim, [least, mean, largest], x, top, bottom) {
  const known = [...mean.keys()].filter((i) => mean[i] !== 255);
  let [low, high] = [Math.min(255, ...known.map((i) => least[i])), Math.max(0, ...known.map((i) => largest[i]))];
  if (high <= low) [low, high] = [Math.max(0, low - 1), Math.min(254, low + 1)];
  const y = (byte) => bottom - ((byte - low) / (high - low)) * (bottom - top);
  let [line, area] = ['', ''];
  for (const i of known) {
    line += `${i > 0 && mean[i - 1] !== 255 ? 'L' : 'M'}${x(i + 0.5).toFixed(1)} ${y(mean[i]).toFixed(1)}`;
    area += `M${x(i).toFixed(1)} ${y(least[i]).toFixed(1)}H${x(i + 1).toFixed(1)}V${(y(largest[i]) - 0.6).toFixed(1)}H${x(i).toFixed(1)}Z`;
  }
  return {
    ticks: niceTicks(ofByte(dim, low), ofByte(dim, high), 5),
    y: (v) => y(((v - dim.min) / (dim.max - dim.min)) * 254),
    drawn: [svg('path', { class: 'spread', d: area }), svg('path', { class: 'line', d: line })],
  };
}

// The category of each step below the plot; each has its own height as well as its own colour.
function categoryStrip(dim, codes, x, bottom, band) {
  const seen = new Map();
  for (const code of codes) if (code !== 255) seen.set(code, (seen.get(code) || 0) + 1);
  const ranked = [...seen.keys()].sort((a, b) => seen.get(b) - seen.get(a));
  const slot = new Map(ranked.map((code, i) => [code, Math.min(i, COLOURS - 1)]));
  const drawn = paths(COLOURS, (i) => `mark strip c${i}`);
  drawn.forEach((path, i) => path.setAttribute('d', [...codes.keys()].filter((step) => slot.get(codes[step]) === i).map((step) =>
    `M${x(step).toFixed(1)} ${bottom}H${(x(step + 1) + 0.3).toFixed(1)}V${(bottom - band + (i / COLOURS) * band * 0.7).toFixed(1)}H${x(step).toFixed(1)}Z`).join('')));
  return { drawn, keys: ranked.slice(0, COLOURS).map((code, i) => el('span', { class: 'key' }, marker(i), el('bdi', {}, codeText(dim, code)))) };
}
