// Messages and stacks of failures as a payload, so that the codec covers them too. Plain CommonJS, because Temporal's SDK
// loads it by path with require() in the process and bundles it into the workflows.
const { DefaultFailureConverter } = require('@temporalio/common');

exports.failureConverter = new DefaultFailureConverter({ encodeCommonAttributes: true });
