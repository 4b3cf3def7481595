// Runs one graph model in TensorFlow.js: node tfjs_reference.cjs MODEL.json INPUT.f32 SIZE OUTPUT.f32 NODE
const fs = require("fs");
const path = require("path");
const tf = require("@tensorflow/tfjs");

async function main([model, input, size, output, node]) {
  const description = JSON.parse(fs.readFileSync(model));
  const files = description.weightsManifest.flatMap((group) => group.paths);
  const weights = Buffer.concat(files.map((name) => fs.readFileSync(path.join(path.dirname(model), name))));
  await tf.setBackend("cpu");
  const graph = await tf.loadGraphModel(
    tf.io.fromMemory({
      modelTopology: description.modelTopology,
      weightSpecs: description.weightsManifest.flatMap((group) => group.weights),
      weightData: new Uint8Array(weights).buffer,
    }),
  );
  const pixels = new Float32Array(new Uint8Array(fs.readFileSync(input)).buffer);
  const values = await graph.execute(tf.tensor(pixels, [1, Number(size), Number(size), 3]), node).data();
  fs.writeFileSync(output, new Uint8Array(values.buffer));
}

main(process.argv.slice(2)).catch((error) => {
  console.error(error);
  process.exit(1);
});
