"""`report`: one self-contained page about a table of documents, whatever its size.

`bins` and `profile` say how values become codes of one byte, `counts`, `sample` and `videos` count them in
the planning engine, `payload` and `page` make the file from these and from `facts`. `page.html`, `report.css`
and `script/` are package data, without a build step. Imported by `api`. It reads no storage: who calls it
fills the table.
"""
