// Python to try the page with, bundled as text. The names tell what the code does, not what is wrong in it.

import accounts from "./accounts.py";
import avatarUpload from "./avatar_upload.py";
import backupRestore from "./backup_restore.py";
import basketCookie from "./basket_cookie.py";
import bookSearch from "./book_search.py";
import formulaColumn from "./formula_column.py";
import guestbook from "./guestbook.py";
import invoicesApi from "./invoices_api.py";
import linkPreview from "./link_preview.py";
import newsletter from "./newsletter.py";
import notesService from "./notes_service.py";
import passwordReset from "./password_reset.py";
import reportDownload from "./report_download.py";
import stockRepository from "./stock_repository.py";
import thumbnails from "./thumbnails.py";

export interface Sample {
  name: string;
  title: string;
  text: string;
}

export const SAMPLES: readonly { group: string; samples: readonly Sample[] }[] = [
  {
    group: "With a weakness",
    samples: [
      { name: "book_search.py", title: "Library search (Flask, SQLite)", text: bookSearch },
      { name: "guestbook.py", title: "Guest book (Flask)", text: guestbook },
      { name: "thumbnails.py", title: "Video previews (ffmpeg)", text: thumbnails },
      { name: "report_download.py", title: "Report download (Flask)", text: reportDownload },
      { name: "basket_cookie.py", title: "Shopping basket in a cookie", text: basketCookie },
      { name: "formula_column.py", title: "Computed table columns", text: formulaColumn },
      { name: "link_preview.py", title: "Link preview (FastAPI)", text: linkPreview },
      { name: "newsletter.py", title: "Newsletter by mail", text: newsletter },
      { name: "invoices_api.py", title: "Invoices of a shop", text: invoicesApi },
      { name: "avatar_upload.py", title: "Picture upload", text: avatarUpload },
      { name: "password_reset.py", title: "Password reset by code", text: passwordReset },
    ],
  },
  {
    group: "Careful code",
    samples: [
      { name: "accounts.py", title: "Password storage", text: accounts },
      { name: "stock_repository.py", title: "Stock in SQLite", text: stockRepository },
      { name: "backup_restore.py", title: "Restoring a backup", text: backupRestore },
    ],
  },
  {
    group: "Some of both",
    samples: [{ name: "notes_service.py", title: "Notes with import and export", text: notesService }],
  },
];

/** The sample with this file name. */
export function sampleNamed(name: string): Sample | undefined {
  return SAMPLES.flatMap(({ samples }) => samples).find((sample) => sample.name === name);
}
