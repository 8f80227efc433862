// The microphone, or a file that the service cannot read → a 16-bit WAV file, made here in the browser.

export function wav(samples, rate) {
  const bytes = new DataView(new ArrayBuffer(44 + 2 * samples.length));
  const text = (at, word) => [...word].forEach((letter, k) => bytes.setUint8(at + k, letter.charCodeAt(0)));
  text(0, "RIFF"); bytes.setUint32(4, 36 + 2 * samples.length, true); text(8, "WAVEfmt ");
  bytes.setUint32(16, 16, true); bytes.setUint16(20, 1, true); bytes.setUint16(22, 1, true);
  bytes.setUint32(24, rate, true); bytes.setUint32(28, 2 * rate, true);
  bytes.setUint16(32, 2, true); bytes.setUint16(34, 16, true);
  text(36, "data"); bytes.setUint32(40, 2 * samples.length, true);
  samples.forEach((x, k) => bytes.setInt16(44 + 2 * k, Math.round(32767 * Math.max(-1, Math.min(1, x))), true));
  return bytes.buffer;
}

// Starts to record; the function that it gives ends it and gives the file.
export async function record() {
  if (!navigator.mediaDevices) {
    throw new Error("This browser gives the microphone to https and to localhost alone. Choose a file instead.");
  }
  const plain = { channelCount: 1, echoCancellation: false, noiseSuppression: false, autoGainControl: false };
  const stream = await navigator.mediaDevices.getUserMedia({ audio: plain });
  const context = new AudioContext();
  await context.audioWorklet.addModule("page/tap.js");
  const tap = new AudioWorkletNode(context, "tap", { numberOfOutputs: 0 });
  const blocks = [];
  tap.port.onmessage = (event) => blocks.push(event.data);
  context.createMediaStreamSource(stream).connect(tap);
  return async () => {
    stream.getTracks().forEach((track) => track.stop());
    await context.close();
    const samples = new Float32Array(blocks.reduce((sum, block) => sum + block.length, 0));
    let at = 0;
    for (const block of blocks) { samples.set(block, at); at += block.length; }
    return new File([wav(samples, context.sampleRate)], "recorded.wav", { type: "audio/wav" });
  };
}

const FOREIGN = /\.(m4a|mp4|aac|3gp|webm|weba|amr|mov)$/i;

// What the service reads goes as it is; what only the browser reads becomes WAV first.
export async function readable(file) {
  if (!FOREIGN.test(file.name) && !/mp4|aac|webm|3gpp/.test(file.type)) return file;
  const heard = await new OfflineAudioContext(1, 1, 48000).decodeAudioData(await file.arrayBuffer());
  return new File([wav(heard.getChannelData(0), heard.sampleRate)], file.name.replace(FOREIGN, "") + ".wav");
}

// The wave, with the spans of speech that the service found in another colour.
export function draw(canvas, told) {
  const style = getComputedStyle(canvas), ratio = devicePixelRatio || 1;
  canvas.width = canvas.clientWidth * ratio; canvas.height = canvas.clientHeight * ratio;
  const pen = canvas.getContext("2d"), step = canvas.width / told.peaks.length, most = Math.max(...told.peaks, 1e-6);
  told.peaks.forEach((peak, k) => {
    const at = ((k + 0.5) / told.peaks.length) * told.length;
    const speech = told.speech.some(([first, last]) => first <= at && at <= last);
    pen.fillStyle = style.getPropertyValue(speech ? "--speech" : "--wave");
    const height = Math.max(ratio, (peak / most) * canvas.height);
    pen.fillRect(k * step, (canvas.height - height) / 2, Math.max(1, step * 0.8), height);
  });
}
