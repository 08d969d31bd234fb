// Put into ComfyUI's page by frontend.py: what the graph on the canvas is like, as plain values.
window.idfsr = {
  stores: () => document.querySelector("#vue-app").__vue_app__.config.globalProperties.$pinia._s,

  ready: () =>
    window.app?.vueAppReady && window.app.graph && window.app.extensionManager && !window.app.extensionManager.spinner,

  // Every node, those inside subgraphs too.
  nodes(graph = window.app.graph) {
    return graph.nodes.flatMap((node) => [node, ...(node.subgraph ? this.nodes(node.subgraph) : [])])
  },

  describe: (node) => ({
    id: String(node.id),
    type: node.type,
    title: node.title,
    red: !!node.has_errors || (node.inputs ?? []).some((input) => input.hasErrors),
    known: node.type in LiteGraph.registered_node_types,
    box: [...node.pos, ...node.size],
    least: [...node.computeSize()],
    inputs: (node.inputs ?? []).map((input) => ({
      name: input.name,
      label: input.label ?? input.localized_name ?? input.name,
    })),
    outputs: (node.outputs ?? []).map((output) => output.label ?? output.localized_name ?? output.name),
    widgets: (node.widgets ?? []).map((widget) => ({
      name: widget.name,
      label: widget.label ?? widget.name,
      type: widget.type,
      value: ["string", "number", "boolean"].includes(typeof widget.value) ? widget.value : null,
      choices: Array.isArray(widget.options?.values) ? widget.options.values : null,
    })),
    pictures: (node.imgs ?? []).map((picture) => [picture.naturalWidth, picture.naturalHeight]),
  }),

  state() {
    const stores = this.stores()
    const errors = stores.get("executionError")
    return {
      title: document.title,
      nodes: this.nodes().map(this.describe),
      missing_nodes: (stores.get("missingNodesError").missingNodesError?.nodeTypes ?? []).map((it) => it.type ?? it),
      missing_models: (stores.get("missingModel").missingModelCandidates ?? []).map((it) => ({
        node: it.nodeType,
        address: it.url ?? "",
      })),
      missing_media: (stores.get("missingMedia").missingMediaCandidates ?? []).map((it) => String(it.name)),
      errors: [errors.lastNodeErrors, errors.lastExecutionError, errors.lastPromptError].filter(Boolean),
    }
  },

  // As Templates does it (useTemplateWorkflows.ts of ComfyUI's frontend).
  async load(pack, name) {
    const answer = await fetch(`/api/workflow_templates/${pack}/${encodeURIComponent(name)}.json`)
    await window.app.loadGraphData(await answer.json(), true, true, name, { openSource: "template" })
  },

  // A node of the graph by its type, at a place in canvas units.
  add(type, x, y) {
    const node = LiteGraph.createNode(type)
    node.pos = [x, y]
    window.app.graph.add(node)
    return String(node.id)
  },

  // Links an output to an input, both by name.
  link(from, output, to, input) {
    const [source, target] = [from, to].map((id) => window.app.graph.nodes.find((node) => String(node.id) === id))
    const slot = (slots, name) => slots.findIndex((it) => it.name === name)
    return !!source.connect(slot(source.outputs, output), target, slot(target.inputs, input))
  },

  look(x, y, scale) {
    const view = window.app.canvas.ds
    view.scale = scale
    view.offset = [-x, -y]
    window.app.canvas.setDirty(true, true)
  },
}
