/** Finds the places of a picture beside the page, which goes on answering meanwhile. */
import { place, type Shape } from './layout.ts';

addEventListener('message', ({ data }: MessageEvent<Shape>) => postMessage(place(data)));
