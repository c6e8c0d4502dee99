"""The job: what the user asks for, as one validated value.

`model` is the job itself, `parts` its sections, `readers/` the keys of what is no table, `loader` reads a job
file (YAML of `yaml_text`, `--set`, `${VAR}`, relative paths), `serialize` writes a job beside a plan without
its secrets. Every layer above may import it. It opens no storage and does no I/O besides reading the job
file.
"""
