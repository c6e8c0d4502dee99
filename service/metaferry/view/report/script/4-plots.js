// Two numbers against each other, the map, and values along a video.

// -- scatter

const COLOURS = 8;
const SHAPES = [
  (x, y, r) => `M${x - r} ${y}a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${-2 * r} 0Z`,
  (x, y, r) => `M${x - r} ${y - r}h${2 * r}v${2 * r}h${-2 * r}Z`,
  (x, y, r) => `M${x} ${y - r * 1.2}L${x + r * 1.15} ${y + r}H${x - r * 1.15}Z`,
  (x, y, r) => `M${x} ${y - r * 1.4}L${x + r * 1.2} ${y}L${x} ${y + r * 1.4}L${x - r * 1.2} ${y}Z`,
  (x, y, r) => `M${x - r * 1.2} ${y - r * 0.4}h${r * 0.8}v${-r * 0.8}h${r * 0.8}v${r * 0.8}h${r * 0.8}v${r * 0.8}h${-r * 0.8}v${r * 0.8}h${-r * 0.8}v${-r * 0.8}h${-r * 0.8}Z`,
  (x, y, r) => `M${x} ${y + r * 1.2}L${x + r * 1.15} ${y - r}H${x - r * 1.15}Z`,
  (x, y, r) => `M${x - r * 1.3} ${y - r * 0.5}h${r * 2.6}v${r}h${-r * 2.6}Z`,
  (x, y, r) => `M${x - r * 0.5} ${y - r * 1.3}h${r}v${r * 2.6}h${-r}Z`,
];
const marker = (i) => svg('svg', { class: `marker c${i}`, viewBox: '-6 -6 12 12', 'aria-hidden': true }, svg('path', { d: SHAPES[i](0, 0, 3.6) }));

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
  const sum = counts.reduce((a, b) => a + b, 0);
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

function picker(label, options, chosen, onchange) {
  const select = el('select', { onchange: () => onchange(select.value) },
    options.map(([value, text]) => el('option', { value, selected: value === chosen || undefined }, clean(text))));
  return el('label', {}, `${label} `, select);
}

function plotFrame(node, height) {
  const box = Math.max(260, Math.floor(node.clientWidth || 600));
  return { box, height, left: 52, right: box - 12, top: 10, bottom: height - 34 };
}

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
  let [x, y, colour] = [numeric[0], numeric[1], category];
  const plot = el('div', { class: 'plot' });
  const legend = el('div', { class: 'legend-list' });
  const controls = el('div', { class: 'controls' });
  const dims = page.data.dims;
  const { head } = page.data;
  let scales = null;
  const byName = [...numeric].sort((a, b) => a.at - b.at).map((dim) => [String(dim.at), dim.name]);
  const colours = [['', 'none'], ...categories.map((dim) => [String(dim.at), dim.name])];
  const redraw = () => {
    put(controls,
      picker('Across', byName, String(x.at), (value) => { x = dims[value]; redraw(); }),
      picker('Up', byName, String(y.at), (value) => { y = dims[value]; redraw(); }),
      picker('Colour and shape', colours, colour ? String(colour.at) : '', (value) => { colour = value ? dims[value] : null; redraw(); }));
    update();
  };
  const ranked = () => [...colour.counts.keys()].sort((a, b) => colour.counts[b] - colour.counts[a]);
  function update() {
    const frame = plotFrame(plot, 400);
    const scale = (dim, from, to) => {
      const [low, high] = [dim.low, dim.low + dim.bins * dim.step];
      return { low, high, to: (v) => from + ((v - low) / (high - low)) * (to - from), back: (p) => low + ((p - from) / (to - from)) * (high - low) };
    };
    const [sx, sy] = [scale(x, frame.left, frame.right), scale(y, frame.bottom, frame.top)];
    scales = [sx, sy];
    const slotOf = new Map(colour ? ranked().map((code, i) => [code, Math.min(i, COLOURS - 1)]) : []);
    const value = (dim, r) => {
      const code = dim.column[r] - (dim.below ? 1 : 0);
      if (code < 0 || code >= dim.bins) return null;
      // Integers are spread within their bin: many share one place.
      const part = dim.integer && dim.step === 1 ? 0.5 + ((Math.imul(r + 7 * dim.at, 2654435761) >>> 0) / 2 ** 32 - 0.5) * 0.7 : (dim.fine[r] + 0.5) / 256;
      return dim.low + (code + part) * dim.step;
    };
    const marks = Array.from({ length: COLOURS }, () => '');
    let behind = '';
    let outside = 0;
    for (let r = 0; r < head.points; r++) {
      const [vx, vy] = [value(x, r), value(y, r)];
      if (vx === null || vy === null) { outside++; continue; }
      const [px, py] = [Math.round(sx.to(vx) * 10) / 10, Math.round(sy.to(vy) * 10) / 10];
      if (page.data.passes(r)) {
        const slot = colour ? slotOf.get(colour.column[r]) : 0;
        marks[slot] += SHAPES[slot](px, py, 2.6);
      } else behind += SHAPES[0](px, py, 1.4);
    }
    const lines = [];
    const [ticksX, ticksY] = [niceTicks(sx.low, sx.high, Math.max(3, frame.box / 90)), niceTicks(sy.low, sy.high, 6)];
    for (const t of ticksX) {
      lines.push(svg('line', { x1: sx.to(t), x2: sx.to(t), y1: frame.top, y2: frame.bottom }), svg('text', { x: sx.to(t), y: frame.bottom + 15, 'text-anchor': 'middle' }, plain(t, apart(ticksX))));
    }
    for (const t of ticksY) {
      lines.push(svg('line', { x1: frame.left, x2: frame.right, y1: sy.to(t), y2: sy.to(t) }), svg('text', { x: frame.left - 6, y: sy.to(t) + 4, 'text-anchor': 'end' }, plain(t, apart(ticksY))));
    }
    put(plot, svg('svg', { viewBox: `0 0 ${frame.box} ${frame.height}`, role: 'img', 'aria-label': `${clean(y.name)} against ${clean(x.name)}${colour ? `, by ${clean(colour.name)}` : ''}` },
      svg('g', { class: 'grid' }, lines),
      svg('path', { class: 'behind', d: behind }),
      marks.map((d, i) => svg('path', { class: `mark c${i}`, d })),
      svg('text', { class: 'title', x: (frame.left + frame.right) / 2, y: frame.height - 3, 'text-anchor': 'middle' }, clean(x.name)),
      svg('text', { class: 'title', transform: `translate(12 ${(frame.top + frame.bottom) / 2}) rotate(-90)`, 'text-anchor': 'middle' }, clean(y.name))));
    const counts = colour ? page.data.counts(colour) : null;
    const mask = colour && page.data.filters.get(colour.at);
    put(legend, !colour ? [] : ranked().filter((code) => colour.counts[code] > 0).slice(0, COLOURS + 4).map((code) =>
      el('button', { type: 'button', class: mask && !mask[code] ? 'bar dim' : 'bar', 'aria-pressed': String(Boolean(mask && mask[code])), onclick: () => page.toggle(colour, code) },
        marker(slotOf.get(code)), el('bdi', { class: 'label' }, codeText(colour, code)),
        el('span', { class: 'count' }, `${counts.isAbout ? '~' : ''}${counts.isAbout ? about(counts.values[code]) : whole(counts.values[code])}`))));
    put(note, `${whole(head.points)} documents, drawn by the hash of their names${outside ? `; ${whole(outside)} of them lie outside or have no value` : ''}. Drag to filter, click to clear.`);
  }
  const note = el('p', { class: 'note' });
  rectangleDrag(plot, (x1, x2, y1, y2) => {
    if (x1 === null) return page.filter(x, null, y, null);
    const [sx, sy] = scales;
    return page.filter(x, rangeMask(x, sx.back(x1), sx.back(x2)), y, rangeMask(y, sy.back(y2), sy.back(y1)));
  });
  page.charts.push({ update });
  page.resized.push(update);
  const beside = tableBeside('the scatter plot', () => {
    if (!colour) return table([x.name, 'documents'], x.counts.map((n, code) => [codeText(x, code), n]), 'Documents by value');
    const rows = ranked().filter((code) => colour.counts[code] > 0).map((code) => [codeText(colour, code), colour.counts[code], ...[x, y].map((dim) => medianOf(page, dim, colour, code))]);
    return table([clean(colour.name), 'documents', `median of ${clean(x.name)}`, `median of ${clean(y.name)}`], rows, 'Medians by category');
  });
  setTimeout(redraw);
  return section('scatter', 'Two numbers', el('article', { class: 'card' }, controls, el('div', { class: 'sides' }, plot, legend), note, beside));
}

function medianOf(page, dim, category, code) {
  const { cells } = page.data.cross(category, dim);
  const mine = [...cells.slice(code * dim.codes, code * dim.codes + dim.slots)];
  const half = mine.reduce((a, b) => a + b, 0) / 2;
  let sum = 0;
  const at = mine.findIndex((n) => { sum += n; return sum >= half && half > 0; });
  return at < 0 ? '–' : codeText(dim, at);
}

// -- map

function map(page) {
  const lat = page.data.dims.find(isLat);
  const lon = page.data.dims.find(isLon);
  if (!lat || !lon || lat.bins < 2 || lon.bins < 2) return null;
  const plot = el('div', { class: 'plot' });
  const legend = el('div', { class: 'legend-list' });
  const sides = el('div', { class: 'sides map' }, plot, legend);
  const note = el('p', { class: 'note' });
  const [south, north, west, east] = [lat.low, lat.low + lat.bins * lat.step, lon.low, lon.low + lon.bins * lon.step];
  let scales = null;
  function update() {
    const stretch = Math.max(0.2, Math.cos(((south + north) / 2 / 180) * Math.PI));
    const room = sides.clientWidth || 600;
    const free = Math.max(260, room > 700 ? room - 270 : room) - 90;
    let [w, h] = [free, (free * (north - south)) / ((east - west) * stretch)];
    if (h > 440) { w *= 440 / h; h = 440; }
    if (h < 120) h = 120;
    const [left, top] = [66, 8];
    const px = (v) => left + ((v - west) / (east - west)) * w;
    const py = (v) => top + ((north - v) / (north - south)) * h;
    plot.style.width = `${w + 90}px`;
    scales = { west: (p) => west + ((p - left) / w) * (east - west), north: (p) => north - ((p - top) / h) * (north - south) };
    // Bins are taken together until a cell is about as high as it is broad.
    const [binWidth, binHeight] = [w / lon.bins, h / lat.bins];
    const [across, up] = [Math.max(1, Math.round(binHeight / binWidth)), Math.max(1, Math.round(binWidth / binHeight))];
    const cellsOf = ({ cells }) => {
      const found = new Map();
      const [row, column] = [lat.below ? 1 : 0, lon.below ? 1 : 0];
      for (let i = 0; i < lat.bins; i++) {
        for (let j = 0; j < lon.bins; j++) {
          const n = cells[(row + i) * lon.codes + column + j];
          const key = Math.floor(i / up) * 100 + Math.floor(j / across);
          if (n) found.set(key, (found.get(key) || 0) + n);
        }
      }
      return found;
    };
    const everything = page.data.cross(lat, lon, true);
    const now = page.data.filters.size ? page.data.cross(lat, lon) : everything;
    const [all, filtered] = [cellsOf(everything), cellsOf(now)];
    const sum = (cells) => [...cells.values()].reduce((a, b) => a + b, 0);
    const [inside, shown, most] = [sum(all), sum(filtered), Math.max(1, ...all.values())];
    const levels = Array.from({ length: 5 }, () => '');
    let behind = '';
    const depth = (n) => Math.log1p(n) / Math.log1p(most);
    const draw = (key, share) => {
      const [i, j] = [Math.floor(key / 100), key % 100];
      const [x, y] = [left + (j + 0.5) * across * binWidth, top + h - (i + 0.5) * up * binHeight];
      const [a, b] = [across * binWidth * share, up * binHeight * share];
      return `M${(x - a / 2).toFixed(1)} ${(y - b / 2).toFixed(1)}h${a.toFixed(1)}v${b.toFixed(1)}h${(-a).toFixed(1)}Z`;
    };
    for (const [key, n] of all) behind += draw(key, 0.35 + 0.6 * depth(n));
    for (const [key, n] of filtered) levels[Math.min(4, Math.floor(depth(n) * 5))] += draw(key, 0.35 + 0.6 * depth(n));
    const lines = [];
    const degrees = (v, ticks, [plus, minus]) => `${plain(Math.abs(v), apart(ticks))}° ${v < 0 ? minus : plus}`;
    const [ticksX, ticksY] = [niceTicks(west, east, Math.max(2, w / 90)), niceTicks(south, north, Math.max(2, h / 60))];
    for (const t of ticksX) {
      lines.push(svg('line', { x1: px(t), x2: px(t), y1: top, y2: top + h }), svg('text', { x: px(t), y: top + h + 16, 'text-anchor': 'middle' }, degrees(t, ticksX, 'EW')));
    }
    for (const t of ticksY) {
      lines.push(svg('line', { x1: left, x2: left + w, y1: py(t), y2: py(t) }), svg('text', { x: left - 6, y: py(t) + 4, 'text-anchor': 'end' }, degrees(t, ticksY, 'NS')));
    }
    put(plot, svg('svg', { viewBox: `0 0 ${w + 90} ${h + 30}`, role: 'img', 'aria-label': `Map of ${clean(lat.name)} and ${clean(lon.name)}` },
      svg('g', { class: 'grid' }, lines), svg('path', { class: 'behind cell', d: behind }), levels.map((d, i) => svg('path', { class: `level l${i}`, d }))));
    const outside = page.data.head.documents - inside;
    const from = (level) => Math.max(1, Math.ceil(Math.expm1((level / 5) * Math.log1p(most))));
    put(legend, el('p', {}, 'Documents in a cell'), [0, 1, 2, 3, 4].filter((level) => level === 0 || from(level) > from(level - 1)).map((level) => el('span', { class: 'key' },
      svg('svg', { class: `marker l${level}`, viewBox: '0 0 12 12', 'aria-hidden': true }, svg('rect', { x: 4 - level, y: 4 - level, width: 4 + 2 * level, height: 4 + 2 * level })), `from ${about(from(level))}`)));
    put(note, `${counted(page.data.filters.size ? shown : inside, now.isAbout)} documents are on the map`,
      outside > 0 ? `; ${counted(outside, everything.isAbout)} lie outside or have no place` : '',
      `. A cell is ${plain(up * lat.step)}° by ${plain(across * lon.step)}°. Drag to filter, click to clear.`);
  }
  rectangleDrag(plot, (x1, x2, y1, y2) => {
    if (x1 === null) return page.filter(lat, null, lon, null);
    return page.filter(lat, rangeMask(lat, scales.north(y2), scales.north(y1)), lon, rangeMask(lon, scales.west(x1), scales.west(x2)));
  });
  page.charts.push({ update });
  page.resized.push(update);
  const beside = tableBeside('the map', () => {
    const { cells, isAbout } = page.data.cross(lat, lon);
    const list = [];
    for (let i = 0; i < lat.slots; i++) for (let j = 0; j < lon.slots; j++) if (cells[i * lon.codes + j]) list.push([codeText(lat, i), codeText(lon, j), Math.round(cells[i * lon.codes + j])]);
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
  const valueOf = (byte) => dim.min + (byte / 254) * (dim.max - dim.min);
  const redraw = () => {
    put(controls,
      picker('Video', head.videos.map((each, i) => [String(i), each.media]), String(video), (value) => { video = Number(value); redraw(); }),
      dim ? picker('Number', numeric.map((each) => [String(each.at), each.name]), String(dim.at), (value) => { dim = dims[value]; redraw(); }) : '',
      strip ? picker('Category', strips.map((each) => [String(each.at), each.name]), String(strip.at), (value) => { strip = dims[value]; redraw(); }) : '');
    update();
  };
  function update() {
    const info = head.videos[video];
    const frame = plotFrame(plot, dim ? 260 : 90);
    const band = strip ? 16 : 0;
    const bottom = frame.bottom - band - (band ? 6 : 0);
    const x = (step) => frame.left + (step / info.steps) * (frame.right - frame.left);
    const drawn = [];
    if (dim) {
      const [least, mean, largest] = series[video].get(dim);
      let [low, high] = [255, 0];
      for (let i = 0; i < info.steps; i++) if (least[i] !== 255) { low = Math.min(low, least[i]); high = Math.max(high, largest[i]); }
      if (high <= low) { low = Math.max(0, low - 1); high = Math.min(254, low + 2); }
      const y = (byte) => bottom - ((byte - low) / (high - low)) * (bottom - frame.top);
      let [line, area, open] = ['', '', false];
      for (let i = 0; i < info.steps; i++) {
        if (mean[i] === 255) { open = false; continue; }
        line += `${open ? 'L' : 'M'}${x(i + 0.5).toFixed(1)} ${y(mean[i]).toFixed(1)}`;
        area += `M${x(i).toFixed(1)} ${y(least[i]).toFixed(1)}H${x(i + 1).toFixed(1)}V${(y(largest[i]) - 0.6).toFixed(1)}H${x(i).toFixed(1)}Z`;
        open = true;
      }
      const ticks = niceTicks(valueOf(low), valueOf(high), 5);
      for (const t of ticks) {
        const at = y(((t - dim.min) / (dim.max - dim.min)) * 254);
        drawn.push(svg('line', { x1: frame.left, x2: frame.right, y1: at, y2: at }), svg('text', { x: frame.left - 6, y: at + 4, 'text-anchor': 'end' }, plain(t, apart(ticks))));
      }
      drawn.push(svg('path', { class: 'spread', d: area }), svg('path', { class: 'line', d: line }));
      drawn.push(svg('text', { class: 'title', transform: `translate(12 ${(frame.top + bottom) / 2}) rotate(-90)`, 'text-anchor': 'middle' }, clean(dim.name)));
    }
    for (const t of niceTicks(0, info.last, Math.max(3, frame.box / 110)).filter(Number.isInteger)) {
      drawn.push(svg('text', { x: x(t / info.per_step), y: frame.bottom + 15, 'text-anchor': 'middle' }, whole(t)));
    }
    drawn.push(svg('text', { class: 'title', x: (frame.left + frame.right) / 2, y: frame.height - 3, 'text-anchor': 'middle' }, 'frame'));
    put(legend);
    if (strip) {
      const [codes] = series[video].get(strip);
      const seen = new Map();
      for (const code of codes) if (code !== 255) seen.set(code, (seen.get(code) || 0) + 1);
      const slot = new Map([...seen.keys()].sort((a, b) => seen.get(b) - seen.get(a)).map((code, i) => [code, Math.min(i, COLOURS - 1)]));
      const paths = Array.from({ length: COLOURS }, () => '');
      // Each category has its own height as well as its own colour.
      codes.forEach((code, i) => {
        if (code === 255) return;
        const lower = (slot.get(code) / COLOURS) * band * 0.7;
        paths[slot.get(code)] += `M${x(i).toFixed(1)} ${frame.bottom}H${(x(i + 1) + 0.3).toFixed(1)}V${(frame.bottom - band + lower).toFixed(1)}H${x(i).toFixed(1)}Z`;
      });
      drawn.push(...paths.map((d, i) => svg('path', { class: `mark strip c${i}`, d })));
      put(legend, [...slot].slice(0, COLOURS).map(([code, i]) => el('span', { class: 'key' }, marker(i), el('bdi', {}, codeText(strip, code)))));
    }
    put(plot, svg('svg', { viewBox: `0 0 ${frame.box} ${frame.height}`, role: 'img', 'aria-label': `${clean(dim ? dim.name : strip.name)} along ${clean(info.media)}` }, svg('g', { class: 'grid' }, drawn)));
    put(note, `${whole(info.frames)} frames${info.per_step > 1 ? `, ${info.per_step} a step: the line is their mean, the band is from the least to the largest` : ''}. Filters do not apply here.`);
  }
  page.resized.push(update);
  const beside = tableBeside('the video', () => {
    const info = head.videos[video];
    const rows = [];
    for (let i = 0; i < info.steps; i++) {
      const frames = info.per_step > 1 ? `${i * info.per_step} to ${Math.min(info.last, (i + 1) * info.per_step - 1)}` : String(i);
      const numbersHere = dim ? series[video].get(dim).map((line) => (line[i] === 255 ? '–' : plain(valueOf(line[i])))) : [];
      rows.push([frames, ...numbersHere, ...(strip ? [series[video].get(strip)[0][i] === 255 ? '–' : codeText(strip, series[video].get(strip)[0][i])] : [])]);
    }
    return table(['frames', ...(dim ? ['least', 'mean', 'largest'] : []), ...(strip ? [clean(strip.name)] : [])], rows, 'Values along the video');
  });
  setTimeout(redraw);
  return section('videos', 'Along a video', el('article', { class: 'card' }, controls, plot, legend, note, beside));
}
