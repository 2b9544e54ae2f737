/** As much of a browser as mixing colours needs: canvases that keep the pixels put on them. */

class Context {
  constructor(canvas) { this.canvas = canvas; }

  createImageData(width, height) { return { data: new Uint8ClampedArray(4 * width * height) }; }

  putImageData(image) { this.canvas.image = image; }
}

globalThis.document = {
  createElement: () => {
    const canvas = { append: () => undefined };
    return Object.assign(canvas, { getContext: () => new Context(canvas) });
  },
};
