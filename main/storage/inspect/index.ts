export { inspectImage } from './inspect';
