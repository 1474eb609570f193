/** Imported first: schemas look at this when they are made. The content security policy forbids code from strings. */
import { z } from 'zod';

z.config({ jitless: true });
