package mobilebert.demo

import android.app.Activity
import android.content.Intent
import android.os.Bundle
import android.view.View
import android.view.ViewGroup
import android.widget.Button
import android.widget.TextView
import mobilebert.demo.model.ModelSource
import mobilebert.demo.task.TaskActivity

/** The models to choose from: the app's own, and files that the user picks. */
class ModelsActivity : Activity() {
    override fun onCreate(state: Bundle?) {
        super.onCreate(state)
        setContentView(R.layout.models)
        findViewById<Button>(R.id.pick).setOnClickListener { startActivityForResult(pickFile(), PICK) }
    }

    override fun onStart() {
        super.onStart()
        showModels()
    }

    @Deprecated("The framework's only way to get a result; androidx would be needed for another.")
    override fun onActivityResult(request: Int, result: Int, data: Intent?) {
        super.onActivityResult(request, result, data)
        val uri = data?.data
        if (request == PICK && result == RESULT_OK && uri != null) open(app.store.add(uri))
    }

    private fun showModels() {
        val list = findViewById<ViewGroup>(R.id.models)
        list.removeAllViews()
        val (included, picked) = app.store.included() to app.store.picked()
        findViewById<TextView>(R.id.none).visibility = if (included.isEmpty() && picked.isEmpty()) View.VISIBLE else View.GONE
        for (source in included + picked) {
            val item = layoutInflater.inflate(R.layout.model, list, false)
            item.findViewById<Button>(R.id.open).apply {
                text = source.name
                setOnClickListener { open(source) }
            }
            item.findViewById<Button>(R.id.forget).apply {
                visibility = if (source in picked) View.VISIBLE else View.GONE
                contentDescription = getString(R.string.forget_model, source.name)
                setOnClickListener {
                    app.store.forget(source)
                    showModels()
                }
            }
            list.addView(item)
        }
    }

    private fun open(source: ModelSource) = startActivity(Intent(this, TaskActivity::class.java).setData(source.uri))

    private companion object {
        const val PICK = 1
    }
}

/** Asks the user for a file. Of any type: .tflite and .tsv have none that every provider knows. */
internal fun pickFile(): Intent =
    Intent(Intent.ACTION_OPEN_DOCUMENT).addCategory(Intent.CATEGORY_OPENABLE).setType("*/*")
