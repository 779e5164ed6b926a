/** OpenAI's fine-tuning protocol under `/v1`: the same resources, in its shapes and with its errors. */
import type { FastifyInstance } from 'fastify';
import { OpenaiError } from '../../schemas/openai.js';
import type { ApiDependencies } from '../server.js';
import type { FormSpool } from '../uploadForm.js';
import { answerOpenaiError } from './errors.js';
import { fileRoutes } from './files.js';
import { fineTuningRoutes } from './jobs.js';
import { openaiModelRoutes } from './models.js';
import { uploadRoutes } from './uploads.js';
import { webhookEndpointRoutes } from './webhookEndpoints.js';

export async function openaiRoutes(server: FastifyInstance, dependencies: ApiDependencies, forms: FormSpool): Promise<void> {
  await server.register(async (scope) => {
    scope.setErrorHandler((error, request, reply) => answerOpenaiError(error, request, reply));
    scope.addHook('onRoute', (route) => {
      route.schema = { ...route.schema, response: { ...(route.schema?.response as object), '4xx': OpenaiError, '5xx': OpenaiError } };
    });
    fileRoutes(scope, dependencies, forms);
    uploadRoutes(scope, dependencies, forms);
    fineTuningRoutes(scope, dependencies);
    openaiModelRoutes(scope, dependencies);
    webhookEndpointRoutes(scope, dependencies);
  });
}
