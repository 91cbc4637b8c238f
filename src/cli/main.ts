#!/usr/bin/env node
/** The command line without the commands that are the server: what the published package runs. */
import { VERSION } from '../version.ts';
import { addCommands, createProgram, runProgram } from './program.ts';
import { createTerminal } from './terminal.ts';

const terminal = createTerminal(process.env);
const program = createProgram(VERSION);
addCommands(program, terminal, process.env);
process.exitCode = await runProgram(program, process.argv.slice(2), terminal, process.env);
