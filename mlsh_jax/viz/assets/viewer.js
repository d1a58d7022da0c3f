// Plays the episode that `mlsh_jax/viz/replay.py` wrote into the page.
//
// It draws with THREE (three.min.js), in the world's own coordinates: z is up, a unit is a unit.
// Steps are env steps; between two steps poses are interpolated, unless the body was put elsewhere.
// Sizes are in `data.unit`: an agent without a body is a ball of that diameter in any world.
// `window.replay` tells what is shown: ready, frames, step, subpolicy, playing, torso, items.
(() => {
'use strict';

const CEILING_OPACITY = 0.3;  // who is below is to be seen
const TRAIL_JOINT = 10;  // corners of its round joints
const TRAIL_SECONDS = 20;  // after which the trail has faded to TRAIL_FAINTEST
const TRAIL_FAINTEST = 0.5;

const data = JSON.parse(document.getElementById('recording').textContent);
// A torso that moves further in one step was put there by the environment.
const JUMP = data.hasBody ? 1.0 : Infinity;
const WALL_HEIGHT = 1.2 * data.unit;
const TRAIL_WIDTH = 0.16 * data.unit;
const FOLLOW_DISTANCE = 9 * data.unit;
const LABEL_HEIGHT = 1.2 * data.unit;  // of an item's word over the floor
const position = unpack(data.position);
const rotation = unpack(data.rotation);
const enemyPath = data.enemy && unpack(data.enemy);
const [frames, links] = data.position.shape;
const element = (id) => document.getElementById(id);
const replay = window.replay = {ready: false, frames, step: 0, playing: false};

/** Restores an array that replay.py packed. */
function unpack({low, unit, base64}) {
  const bytes = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
  return Float32Array.from(new Uint16Array(bytes.buffer), (n) => low + unit * n);
}

function torsoAt(step) {
  return [position[step * links * 3], position[step * links * 3 + 1]];
}

function jumps(step) {
  const [x, y] = torsoAt(step);
  const [nextX, nextY] = torsoAt(step + 1);
  return Math.hypot(nextX - x, nextY - y) > JUMP;
}

// ---- the world

function standard(color) {
  return new THREE.MeshStandardMaterial({color: color, roughness: 0.75});
}

function makeWorld(scene) {
  const [xMin, xMax, yMin, yMax] = data.scene.bounds;
  const margin = 2 * data.unit;
  const floor = new THREE.Mesh(
      new THREE.PlaneGeometry(xMax - xMin + 2 * margin, yMax - yMin + 2 * margin),
      standard(data.colors.floor));
  floor.position.set((xMin + xMax) / 2, (yMin + yMax) / 2, 0);
  floor.receiveShadow = true;
  scene.add(floor);
  if (data.hasBody) scene.add(makeGrid(xMin - margin, xMax + margin, yMin - margin, yMax + margin));
  for (const [x, y, halfX, halfY] of data.scene.walls) {
    const wall = new THREE.Mesh(
        new THREE.BoxGeometry(2 * halfX, 2 * halfY, WALL_HEIGHT), standard(data.colors.wall));
    wall.position.set(x, y, WALL_HEIGHT / 2);
    wall.castShadow = wall.receiveShadow = true;
    scene.add(wall);
  }
  for (const [x, y, halfX, halfY, low, high] of data.scene.ceilings) {
    const ceiling = new THREE.Mesh(
        new THREE.BoxGeometry(2 * halfX, 2 * halfY, high - low),
        new THREE.MeshBasicMaterial({
          color: data.colors.wall, transparent: true, opacity: CEILING_OPACITY, depthWrite: false,
        }));
    ceiling.position.set(x, y, (low + high) / 2);
    ceilings.add(ceiling);
  }
  scene.add(ceilings);
  const start = ring(0.7 * data.unit, 0.9 * data.unit, data.colors.start);
  start.position.set(...data.scene.start, 0.012 * data.unit);
  scene.add(start);
  if (data.scene.goal) scene.add(makeGoal());
}

/** Lines every 5 units, flush with multiples of 5. */
function makeGrid(xMin, xMax, yMin, yMax) {
  const points = [];
  for (let x = Math.ceil(xMin / 5) * 5; x <= xMax; x += 5) points.push(x, yMin, 0, x, yMax, 0);
  for (let y = Math.ceil(yMin / 5) * 5; y <= yMax; y += 5) points.push(xMin, y, 0, xMax, y, 0);
  const geometry = new THREE.BufferGeometry();
  geometry.setAttribute('position', new THREE.BufferAttribute(new Float32Array(points), 3));
  const grid = new THREE.LineSegments(
      geometry, new THREE.LineBasicMaterial({color: data.colors.grid}));
  grid.position.z = 0.004;
  return grid;
}

function ring(inner, outer, color) {
  return new THREE.Mesh(
      new THREE.RingGeometry(inner, outer, 64), new THREE.MeshBasicMaterial({color: color}));
}

/** A disc on the floor under a low wall of light. */
function makeGoal() {
  const radius = data.scene.goalRadius;
  const goal = new THREE.Group();
  const disc = new THREE.Mesh(new THREE.CircleGeometry(radius, 96), standard(data.colors.goal));
  disc.receiveShadow = true;
  const edge = new THREE.Mesh(
      new THREE.CylinderGeometry(radius, radius, 0.8 * data.unit, 96, 1, true),
      new THREE.MeshBasicMaterial({
        color: data.colors.goal, transparent: true, opacity: 0.35, side: THREE.DoubleSide,
        depthWrite: false,
      }));
  edge.rotation.x = Math.PI / 2;
  edge.position.z = 0.4 * data.unit;
  goal.add(disc, edge);
  goal.position.set(...data.scene.goal, 0.008 * data.unit);
  return goal;
}

function makeEnemy() {
  const radius = data.scene.enemyRadius;
  const enemy = new THREE.Mesh(new THREE.SphereGeometry(radius, 48, 32), standard(data.colors.enemy));
  enemy.position.z = radius;
  enemy.castShadow = true;
  return enemy;
}

/** One group per link; all parts share one material, which has the sub-policy's color. */
function makeBody(material) {
  const groups = Array.from({length: links}, () => new THREE.Group());
  for (const part of data.parts) {
    const geometry = part.halfLength ?
        new THREE.CapsuleGeometry(part.radius, 2 * part.halfLength, 8, 20).rotateX(Math.PI / 2) :
        new THREE.SphereGeometry(part.radius, 32, 24);
    const mesh = new THREE.Mesh(geometry, material);
    const [w, x, y, z] = part.rotation;
    mesh.position.set(...part.position);
    mesh.quaternion.set(x, y, z, w);
    mesh.castShadow = true;
    groups[part.link].add(mesh);
  }
  return groups;
}

/**
 * The path of the torso as a ribbon on the floor, with round joints. Its vertices know their step,
 * and the shader hides what is yet to come and fades what is long ago, so that the geometry is
 * made only once. The newest pieces come first, and the stencil lets the first piece that reaches
 * a pixel have it alone: pieces overlap everywhere, and would be darker there.
 */
function makeTrail() {
  const vertices = [];
  const steps = [];
  const shades = [];
  const color = new THREE.Color();
  const triangle = (step, ...corners) => {
    for (const [x, y] of corners) {
      vertices.push(x, y, 0.02 * data.unit);
      steps.push(step);
      shades.push(color.r, color.g, color.b);
    }
  };
  for (let step = frames - 1; step > 0; step--) {
    const [fromX, fromY] = torsoAt(step - 1);
    const [x, y] = torsoAt(step);
    const length = Math.hypot(x - fromX, y - fromY);
    if (length === 0 || jumps(step - 1)) continue;
    color.set(data.colors.subpolicies[data.subpolicy[step - 1]]);
    const radius = TRAIL_WIDTH / 2;
    const around = (angle) => [x + radius * Math.cos(angle), y + radius * Math.sin(angle)];
    const corner = 2 * Math.PI / TRAIL_JOINT;
    for (let i = 0; i < TRAIL_JOINT; i++) {
      triangle(step, [x, y], around(i * corner), around((i + 1) * corner));
    }
    const [sideX, sideY] = [-(y - fromY) / length * radius, (x - fromX) / length * radius];
    const [right, left] = [[x - sideX, y - sideY], [x + sideX, y + sideY]];
    const [fromRight, fromLeft] = [[fromX - sideX, fromY - sideY], [fromX + sideX, fromY + sideY]];
    triangle(step, fromRight, right, left);
    triangle(step, fromRight, left, fromLeft);
  }
  const geometry = new THREE.BufferGeometry();
  const attribute = (values, size) => new THREE.BufferAttribute(new Float32Array(values), size);
  geometry.setAttribute('position', attribute(vertices, 3));
  geometry.setAttribute('step', attribute(steps, 1));
  geometry.setAttribute('shade', attribute(shades, 3));
  const material = new THREE.ShaderMaterial({
    uniforms: {now: {value: 0}, span: {value: TRAIL_SECONDS / data.secondsPerStep}},
    vertexShader: `
      attribute float step;
      attribute vec3 shade;
      varying float vStep;
      varying vec3 vShade;
      void main() {
        vStep = step;
        vShade = shade;
        gl_Position = projectionMatrix * modelViewMatrix * vec4(position, 1.0);
      }`,
    fragmentShader: `
      uniform float now;
      uniform float span;
      varying float vStep;
      varying vec3 vShade;
      void main() {
        if (vStep > now + 0.5) discard;
        float alpha = max(${TRAIL_FAINTEST}, 1.0 - (now - vStep) / span);
        gl_FragColor = vec4(vShade, alpha);
        #include <colorspace_fragment>
      }`,
    transparent: true,
    depthWrite: false,
    stencilWrite: true,
    stencilRef: 1,
    stencilFunc: THREE.NotEqualStencilFunc,
    stencilZPass: THREE.ReplaceStencilOp,
  });
  const trail = new THREE.Mesh(geometry, material);
  trail.frustumCulled = false;
  return trail;
}

function makeLights(scene) {
  const [xMin, xMax, yMin, yMax] = data.scene.bounds;
  const reach = Math.hypot(xMax - xMin, yMax - yMin) / 2;
  const sun = new THREE.DirectionalLight('#ffffff', 2.0);
  sun.target.position.set((xMin + xMax) / 2, (yMin + yMax) / 2, 0);
  sun.position.set(-0.35, -0.55, 1.4).multiplyScalar(reach).add(sun.target.position);
  sun.castShadow = true;
  sun.shadow.mapSize.set(2048, 2048);
  sun.shadow.bias = -0.0005;
  Object.assign(sun.shadow.camera,
      {left: -reach, right: reach, bottom: -reach, top: reach, near: 0.1, far: 4 * reach});
  scene.add(sun, sun.target, new THREE.HemisphereLight('#ffffff', '#d8d4cc', 1.7));
}

// ---- camera

/** From the south, so that x goes right and y goes up, as in the figures. */
function overview() {
  const [xMin, xMax, yMin, yMax] = data.scene.bounds;
  const aspect = Math.min(camera.aspect, 2);
  const distance = 1.12 * Math.max(yMax - yMin, (xMax - xMin) / aspect) + 3 * data.unit;
  controls.target.set((xMin + xMax) / 2, (yMin + yMax) / 2 - 0.03 * distance, 0);
  camera.position.copy(controls.target).add(
      new THREE.Vector3(0, -0.5, 0.87).multiplyScalar(distance));
}

function closeUp() {
  controls.target.copy(body[0].position);
  camera.position.copy(controls.target).add(
      new THREE.Vector3(-0.25, -0.75, 0.6).normalize().multiplyScalar(FOLLOW_DISTANCE));
}

// ---- words over the world

function makeLabel(word, kind) {
  const label = document.createElement('span');
  label.className = `word ${kind}`;
  label.textContent = word;
  element('view').append(label);
  return label;
}

/** Puts a word over a point of the world; away with it where there is none. */
function place(label, point) {
  const seen = point && point.project(camera);
  const isInView = seen && Math.abs(seen.x) < 1 && Math.abs(seen.y) < 1 && seen.z < 1;
  label.style.display = isInView ? '' : 'none';
  if (!isInView) return;
  const {clientWidth, clientHeight} = element('view');
  label.style.left = `${(seen.x + 1) / 2 * clientWidth}px`;
  label.style.top = `${(1 - seen.y) / 2 * clientHeight}px`;
}

/** Where an item is at a time in steps; it is carried as the agent moves. */
function itemAt(path, time) {
  const step = Math.min(Math.floor(time), frames - 1);
  const [from, to] = [path[step], path[Math.min(step + 1, frames - 1)] || path[step]];
  if (!from) return null;
  const share = time - step;
  return [from[0] + share * (to[0] - from[0]), from[1] + share * (to[1] - from[1])];
}

function placeWords() {
  for (const {label, at} of marks) place(label, new THREE.Vector3(...at, 0));
  for (const {label, path} of items) {
    const at = itemAt(path, replay.time);
    place(label, at && new THREE.Vector3(...at, LABEL_HEIGHT));
  }
}

// ---- showing a moment

/** Mixes positions `size` long at `index` of two steps into `vector`. */
function mixPosition(vector, from, to, share) {
  vector.set(
      position[from] + share * (position[to] - position[from]),
      position[from + 1] + share * (position[to + 1] - position[from + 1]),
      position[from + 2] + share * (position[to + 2] - position[from + 2]));
}

function readQuaternion(quaternion, at) {
  return quaternion.set(rotation[at + 1], rotation[at + 2], rotation[at + 3], rotation[at]);
}

const later = new THREE.Quaternion();

/** Poses everything for a time in steps, which need not be whole. */
function show(time) {
  const step = Math.min(Math.floor(time), frames - 1);
  const next = Math.min(step + 1, frames - 1);
  const share = step === next || jumps(step) ? 0 : time - step;
  const before = body[0].position.clone();
  body.forEach((group, link) => {
    const [from, to] = [step * links + link, next * links + link];
    mixPosition(group.position, 3 * from, 3 * to, share);
    readQuaternion(group.quaternion, 4 * from).slerp(readQuaternion(later, 4 * to), share);
  });
  ceilings.visible = !data.roofed || data.roofed[step] === 1;
  if (enemy) {
    enemy.position.x = enemyPath[2 * step] + share * (enemyPath[2 * next] - enemyPath[2 * step]);
    enemy.position.y =
        enemyPath[2 * step + 1] + share * (enemyPath[2 * next + 1] - enemyPath[2 * step + 1]);
  }
  if (element('follow').checked) {
    const shift = body[0].position.clone().sub(before).setZ(0);
    controls.target.add(shift);
    camera.position.add(shift);
  }
  trail.material.uniforms.now.value = time;
  skin.color.set(data.colors.subpolicies[data.subpolicy[step]]);
  replay.time = time;
  if (!replay.ready || step !== replay.step) describe(step);
  dirty = true;
}

function describe(step) {
  const k = data.subpolicy[step];
  const found = Object.fromEntries(data.items.map(({word, path}) => [word, path[step]]));
  Object.assign(replay, {step, subpolicy: k, torso: body[0].position.toArray(), items: found});
  element('subpolicy').textContent = `sub-policy ${k}`;
  element('subpolicy').style.background = data.colors.subpolicies[k];
  element('subpolicy').style.color = data.colors.texts[k];
  const time = data.dt !== null ? `${(step * data.dt).toFixed(2)} s · ` : '';
  element('numbers').textContent =
      `${time}step ${step} of ${frames} · return ${data.totalReward[step].toFixed(data.returnDecimals)}`;
  element('goal').textContent = data.inGoal[step] ? '· in the goal' : '';
  element('slider').value = step;
}

function setPlaying(playing) {
  if (playing && replay.time >= frames - 1) show(0);
  replay.playing = playing;
  element('play').textContent = playing ? 'Pause' : 'Play';
}

// ---- page

function fillLegend() {
  const add = (color, text) => {
    const row = document.createElement('div');
    row.innerHTML = `<i style="background:${color}"></i><span>${text}</span>`;
    element('legend').append(row);
  };
  data.colors.subpolicies.forEach((color, k) => add(color, `sub-policy ${k}`));
  if (data.scene.goal) add(data.colors.goal, 'goal');
  if (data.enemy) add(data.colors.enemy, 'enemy');
}

/** The active sub-policy along the time slider, under the time in the goal. */
function fillStrip() {
  const strip = element('strip');
  strip.width = frames;
  strip.height = 10;
  const pen = strip.getContext('2d');
  for (let step = 0; step < frames; step++) {
    pen.fillStyle = data.colors.subpolicies[data.subpolicy[step]];
    pen.fillRect(step, 0, 1, 10);
    if (data.inGoal[step]) {
      pen.fillStyle = data.colors.goal;
      pen.fillRect(step, 0, 1, 4);
    }
  }
}

function listen() {
  const slider = element('slider');
  const stop = (step) => {
    setPlaying(false);
    show(Math.max(0, Math.min(frames - 1, step)));
  };
  slider.max = frames - 1;
  slider.addEventListener('input', () => show(Number(slider.value)));
  element('play').addEventListener('click', () => setPlaying(!replay.playing));
  element('follow').addEventListener('change', (event) => {
    event.target.checked ? closeUp() : overview();
    dirty = true;
  });
  window.addEventListener('keydown', (event) => {
    if (event.target.id === 'speed') return;
    if (event.key === ' ') setPlaying(!replay.playing);
    else if (event.key === 'ArrowRight') stop(replay.step + 1);
    else if (event.key === 'ArrowLeft') stop(replay.step - 1);
    else return;
    event.preventDefault();
  });
  window.addEventListener('hashchange', readHash);
  window.addEventListener('resize', resize);
  controls.addEventListener('change', () => { dirty = true; });
}

function readHash() {
  const wanted = new URLSearchParams(location.hash.slice(1));
  element('follow').checked = wanted.has('follow');
  setPlaying(!wanted.has('paused'));
  show(Math.max(0, Math.min(frames - 1, Number(wanted.get('step')) || 0)));
  wanted.has('follow') ? closeUp() : overview();
}

function resize() {
  const {clientWidth, clientHeight} = element('view');
  renderer.setSize(clientWidth, clientHeight);
  camera.aspect = clientWidth / clientHeight;
  camera.updateProjectionMatrix();
  dirty = true;
}

let dirty = true;
let lastTick = 0;

/** Advances time, and draws only if something changed: an idle page costs nothing. */
function tick(now) {
  const seconds = Math.min((now - lastTick) / 1000, 0.25);
  lastTick = now;
  if (replay.playing) {
    const time = replay.time + seconds * Number(element('speed').value) / data.secondsPerStep;
    show(Math.min(time, frames - 1));
    if (time >= frames - 1) setPlaying(false);
  }
  controls.update();
  if (dirty) {
    dirty = false;
    renderer.render(world, camera);
    placeWords();
    replay.ready = true;
  }
  requestAnimationFrame(tick);
}

let renderer;
try {
  renderer = new THREE.WebGLRenderer({
    antialias: true, stencil: true, preserveDrawingBuffer: true,
  });
} catch (error) {
  element('numbers').textContent = 'This browser has no WebGL, which the replay needs.';
  throw error;
}
renderer.setPixelRatio(window.devicePixelRatio);
renderer.setClearColor('#ffffff');
renderer.shadowMap.enabled = true;
renderer.shadowMap.type = THREE.PCFShadowMap;
element('view').append(renderer.domElement);

const world = new THREE.Scene();
const camera = new THREE.PerspectiveCamera(45, 1, 0.4 * data.unit, 1000 * data.unit);
camera.up.set(0, 0, 1);
const controls = new THREE.OrbitControls(camera, renderer.domElement);
controls.maxPolarAngle = 0.49 * Math.PI;

const skin = standard('#ffffff');
const body = makeBody(skin);
const enemy = enemyPath && data.scene.enemyRadius ? makeEnemy() : null;
const ceilings = new THREE.Group();
const trail = makeTrail();
const marks = data.scene.marks.map(({at, word}) => ({label: makeLabel(word, 'mark'), at}));
const items = data.items.map(({word, path}) => ({label: makeLabel(word, 'item'), path}));
makeLights(world);
makeWorld(world);
world.add(...body, trail, ...(enemy ? [enemy] : []));

fillLegend();
fillStrip();
listen();
resize();
readHash();
requestAnimationFrame(tick);
})();
